import { flag, value } from '../command.ts'

/** How a command in a vm is run. */
export const attachOptions = {
  interactive: flag('-i, --interactive', 'send it what comes in here'),
  tty: flag('-t, --tty', 'give it a terminal'),
  workdir: value('-w, --workdir <directory>', 'directory to run it in; the home of the user when left out'),
  user: value('-u, --user <user>', 'user to run it as; root when left out'),
}
