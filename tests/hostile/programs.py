"""Hostile programs by language, one table each: what they try is the key, every body runs all it can.

`test_by_language.py` says what must come of them. Programs that want more of the test than a place in a table
are in `test_escape.py` and `test_exhaustion.py`.
"""

BYE_AND_A_GRANDCHILD = {
    "py": "import subprocess\nsubprocess.Popen(['sleep', '1000'])\nprint('bye')",
    "js": "require('child_process').spawn('sleep', ['1000'], {stdio: 'inherit', detached: true}).unref();\n"
    "console.log('bye')",
    "ts": "import { spawn } from 'child_process';\n"
    "spawn('sleep', ['1000'], { stdio: 'inherit', detached: true }).unref();\nconsole.log('bye');",
    "go": 'package main\nimport ("fmt"; "os"; "os/exec")\nfunc main() {\n'
    '    c := exec.Command("sleep", "1000"); c.Stdout = os.Stdout; c.Stderr = os.Stderr\n'
    '    if c.Start() == nil { fmt.Println("bye") }\n}',
    "java": "public class Main { public static void main(String[] a) throws Exception {\n"
    '    new ProcessBuilder("sleep", "1000").inheritIO().start(); System.out.println("bye"); } }',
    "c": "#include <stdio.h>\n#include <unistd.h>\nint main(void) {\n"
    '    if (fork() == 0) execlp("sleep", "sleep", "1000", (char *)0);\n    puts("bye"); }',
    "cpp": "#include <iostream>\n#include <unistd.h>\nint main() {\n"
    '    if (fork() == 0) execlp("sleep", "sleep", "1000", (char *)0);\n    std::cout << "bye\\n"; }',
    "php": "<?php proc_open('sleep 1000 &', [1 => STDOUT, 2 => STDERR], $pipes); echo \"bye\\n\";",
    "rs": 'fn main() { std::process::Command::new("sleep").arg("1000").spawn().unwrap(); println!("bye"); }',
    "r": "system('sleep 1000', wait = FALSE)\ncat('bye\\n')",
    "f90": "program p\n  call execute_command_line('sleep 1000', wait=.false.)\n"
    "  write (*, '(a)') 'bye'\nend program p\n",
    "d": 'import std.process, std.stdio;\nvoid main() { spawnProcess(["sleep", "1000"]); writeln("bye"); }',
    "bash": "sleep 1000 &\necho bye",
}
"""A process of theirs holds stdout and stderr when the program itself has ended."""

SHOW_A_FILE = {
    "py": "print(open('{path}').read())",
    "js": "console.log(require('fs').readFileSync('{path}', 'utf8'))",
    "ts": "import text from '{path}';\nconsole.log(text);",
    "go": 'package main\nimport ("fmt"; "os")\n'
    'func main() { text, fault := os.ReadFile("{path}"); fmt.Println(string(text), fault) }',
    "java": "public class Main { public static void main(String[] a) throws Exception {\n"
    '    System.out.println(java.nio.file.Files.readString(java.nio.file.Path.of("{path}"))); } }',
    "c": '#include "{path}"\nint main(void) { return 0; }',
    "cpp": '#include <iostream>\n__asm__(".data\\nshown: .incbin \\"{path}\\"\\n.byte 0\\n.text");\n'
    'extern "C" char shown[];\nint main() { std::cout << shown; }',
    "php": "<?php include '{path}';",
    "rs": 'fn main() { println!("{}", include_str!("{path}")); }',
    "r": "cat(readLines('{path}'))",
    "f90": "program p\n  include '{path}'\nend program p\n",
    "d": 'import std.stdio;\nvoid main() { writeln(import("{path}")); }',
    "bash": "cat '{path}'",
}
"""At build time where there is one: the service's compilers run in the sandbox too."""

COMPILE_BOMBS = {
    "ts": "let x = " + "[" * 400_000 + "]" * 400_000 + ";",
    "go": "package main\nvar x = [1 << 32]byte{1 << 31: 1}\nfunc main() { println(x[len(x)-1]) }",
    "java": "public class Main { int x = " + "(" * 200_000 + "1" + ")" * 200_000 + "; }",
    "c": "".join(f"#define A{n} {f'A{n - 1} ' * 16}\n" for n in range(1, 10))
    + "#define A0 int x;\nA9\nint main(void) { return 0; }",
    "cpp": "template <long I, long J> struct X {\n"
    "    static const int v = X<I - 1, J * 2>::v + X<I - 1, J * 2 + 1>::v; };\n"
    "template <long J> struct X<0, J> { static const int v = 1; };\nint main() { return X<40, 1>::v; }",
    "rs": '#![recursion_limit = "1000"]\n'
    "macro_rules! grow { ($($t:tt)*) => { grow!($($t)* $($t)*); } }\ngrow!(a);\nfn main() {}",
    "f90": "program p\n  integer, parameter :: a(40000, 40000) = 1\n  print *, sum(a)\nend program p\n",
    "d": "ulong spin() { ulong i; while (i < ulong.max) i++; return i; }\nenum x = spin();\nvoid main() {}",
}
"""Small sources that would take a compiler for ever, or all memory there is."""
