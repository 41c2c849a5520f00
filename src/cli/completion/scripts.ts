/**
 * The scripts are thin: each hands the words of the line to `ramet __complete`, which knows the commands
 * and asks a daemon that runs for names. So a script needs no renewal when commands change.
 */
export const shells = ['bash', 'zsh', 'fish'] as const
export type ShellName = (typeof shells)[number]

export const completionScripts: Record<ShellName, string> = {
  bash: `# ramet completion for bash; put into ~/.bashrc:  eval "$(ramet completion bash)"
_ramet() {
  local IFS=$'\\n' words
  words=("\${COMP_WORDS[@]:1:COMP_CWORD}")
  local found
  found=$(ramet __complete "\${words[@]}" 2>/dev/null) || return
  if [[ $found == *":files"* ]]; then
    compopt -o filenames 2>/dev/null
    COMPREPLY=($(compgen -f -- "\${COMP_WORDS[COMP_CWORD]}"))
  else
    COMPREPLY=($(compgen -W "$found" -- "\${COMP_WORDS[COMP_CWORD]}"))
  fi
}
complete -F _ramet ramet`,
  zsh: `#compdef ramet
# ramet completion for zsh; put into ~/.zshrc:  eval "$(ramet completion zsh)"
_ramet() {
  local -a found
  found=("\${(@f)$(ramet __complete "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ "\${found[1]}" == ":files" ]]; then
    _files
  else
    compadd -- "\${(@)found:#}"
  fi
}
compdef _ramet ramet`,
  fish: `# ramet completion for fish; put into ~/.config/fish/completions/ramet.fish
function __ramet_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l found (ramet __complete $words[2..-1] 2>/dev/null)
    if test "$found[1]" = ":files"
        __fish_complete_path (commandline -ct)
    else
        printf '%s\\n' $found
    end
end
complete -c ramet -f -a '(__ramet_complete)'`,
}
