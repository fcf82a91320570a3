mode=$1
shift
case $mode in
    echo) while read -r line; do echo "got $line"; done ;;
    args) printf '%s\n' "$@" ;;
    exit) exit 3 ;;
    stderr) echo oops >&2 ;;
    crash) kill -ABRT $$ ;;
    unicode) echo "žluťoučký 🐎 漢字" ;;
    lines) for number in {1..200}; do echo "line $number"; done ;;
    memory) kept=xxxxxxxxxxxxxxxx; while true; do kept+=$kept; done ;;
    loop) echo before; while true; do sleep 0.01; done ;;
    file) echo "made here" >out.txt ;;
esac
