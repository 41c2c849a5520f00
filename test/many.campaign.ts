// The same tests with the numbers that are promised: fifty Debian children at once, a hundred forks and removals.
import './debian.test.ts'
import './no-leaks.test.ts'
