# Completion of `ifvit` and of `python -m ifvit` in fish: ifvit completion fish | source

function __ifvit_complete
    set -l typed (commandline -opc)
    set -l word (commandline -ct)
    if string match -q -- '*ifvit' $typed[1]
        set program $typed[1]
        set -e typed[1]
    else
        set program $typed[1..3]
        set -e typed[1..3]
    end
    set -l found ($program --complete $typed $word 2> /dev/null)
    if test -n "$found"
        string trim --right -- $found
    else
        set -l key (string match -r -- '^.*=' $word)
        printf "$key%s\n" (__fish_complete_path (string replace -r -- '^.*=' '' $word))
    end
end

function __ifvit_of_python
    set -l typed (commandline -opc)
    test (count $typed) -ge 3 -a "$typed[2] $typed[3]" = '-m ifvit'
end

complete -c ifvit -f -a '(__ifvit_complete)'
complete -c python -n __ifvit_of_python -f -a '(__ifvit_complete)'
complete -c python3 -n __ifvit_of_python -f -a '(__ifvit_complete)'
