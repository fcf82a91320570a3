import os
import sys
import time

mode, *rest = sys.argv[1:]
if mode == "echo":
    for line in sys.stdin:
        print("got", line, end="")
elif mode == "args":
    print("\n".join(rest))
elif mode == "exit":
    sys.exit(3)
elif mode == "stderr":
    print("oops", file=sys.stderr)
elif mode == "crash":
    os.abort()
elif mode == "unicode":
    print("žluťoučký 🐎 漢字")
elif mode == "lines":
    for number in range(1, 201):
        print("line", number)
elif mode == "memory":
    kept = []
    while True:
        kept.append(bytearray(b"x") * (16 << 20))
elif mode == "loop":
    print("before")
    while True:
        time.sleep(0.01)
elif mode == "file":
    with open("out.txt", "w") as file:
        file.write("made here\n")
