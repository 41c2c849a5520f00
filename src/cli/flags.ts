/** `-n` and `--count` of `-n, --count <number>`. */
export const namesOf = (flags: string): string[] => flags.match(/(^|(?<=[ ,]))--?[A-Za-z-]+/g) ?? []
