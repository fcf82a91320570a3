import core.stdc.stdlib : abort, exit, malloc;
import core.thread : msecs, Thread;
import core.volatile : volatileStore;
import std.array : join;
import std.file : write;
import std.stdio : stderr, stdin, writefln, writeln;

void main(string[] args) {
    switch (args[1]) {
        case "echo":
            foreach (line; stdin.byLine) writeln("got ", line);
            break;
        case "args":
            writeln(args[2 .. $].join("\n"));
            break;
        case "exit":
            exit(3);
            break;
        case "stderr":
            stderr.writeln("oops");
            break;
        case "crash":
            abort();
            break;
        case "unicode":
            writeln("žluťoučký 🐎 漢字");
            break;
        case "lines":
            foreach (number; 1 .. 201) writefln("line %d", number);
            break;
        case "memory":
            for (;;) {
                auto block = cast(ubyte*) malloc(16 << 20);
                for (size_t i = 0; i < 16 << 20; i += 4096) volatileStore(block + i, cast(ubyte) 1);
            }
        case "loop":
            writeln("before");
            for (;;) Thread.sleep(10.msecs);
        case "file":
            write("out.txt", "made here\n");
            break;
        default:
    }
}
