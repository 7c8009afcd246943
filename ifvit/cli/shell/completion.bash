# Completion of `ifvit` and of `python -m ifvit` in bash 4 or later: eval "$(ifvit completion bash)"

_ifvit_complete() {
    local line=${COMP_LINE:0:COMP_POINT} words program word
    read -ra words <<< "$line"
    [[ $line == *[[:space:]] ]] && words+=("")
    if [[ ${words[0]} == *ifvit ]]; then
        program=("${words[0]}")
    elif [[ ${words[1]} == -m && ${words[2]} == ifvit && ${#words[@]} -gt 3 ]]; then
        program=("${words[0]}" -m ifvit)
    else
        [[ -z $_ifvit_python ]] || "$_ifvit_python" "$@"
        return
    fi
    mapfile -t COMPREPLY < <("${program[@]}" --complete "${words[@]:${#program[@]}}" 2> /dev/null)
    [[ ${#COMPREPLY[@]} -eq 0 ]] && return # files
    word=${words[${#words[@]} - 1]}
    # bash replaces only what stands behind the last =.
    if [[ $word == *=* && $COMP_WORDBREAKS == *=* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*=}"}"}")
    fi
    compopt -o nospace
}

# What completes python's own arguments goes on doing so.
for _ifvit_loader in _comp_load _completion_loader; do
    declare -F "$_ifvit_loader" > /dev/null && { "$_ifvit_loader" python > /dev/null 2>&1; break; }
done
if [[ $(complete -p python 2> /dev/null) =~ -F\ ([^\ ]+) && ${BASH_REMATCH[1]} != _ifvit_complete ]]; then
    _ifvit_python=${BASH_REMATCH[1]}
fi
unset _ifvit_loader
complete -o default -o bashdefault -F _ifvit_complete ifvit python python3
