# Completion of `ifvit` and of `python -m ifvit` in zsh, after compinit: eval "$(ifvit completion zsh)"

_ifvit_complete() {
    local -a program typed found
    if [[ $words[1] == *ifvit ]]; then
        program=(${~words[1]})
        typed=("${(@)words[2,CURRENT-1]}")
    elif [[ $words[2] == -m && $words[3] == ifvit ]] && (( CURRENT > 3 )); then
        program=(${~words[1]} -m ifvit)
        typed=("${(@)words[4,CURRENT-1]}")
    else
        $_ifvit_python "$@"
        return
    fi
    found=("${(@f)$($program --complete "${(@)typed}" "$PREFIX" 2> /dev/null)}")
    found=(${found:#})
    if (( $#found )); then
        # What ends in a blank is whole.
        compadd -- ${${(M)found:#* }% }
        compadd -S '' -- ${found:#* }
    else
        compset -P '*='
        _files
    fi
}

# What completes python's own arguments goes on doing so.
[[ ${_comps[python]:-_default} == _ifvit_complete ]] || _ifvit_python=${_comps[python]:-_default}
compdef _ifvit_complete ifvit python python3
