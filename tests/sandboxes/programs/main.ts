import * as fs from "node:fs";

enum Mode {
  Echo = "echo",
  Args = "args",
  Exit = "exit",
  Stderr = "stderr",
  Crash = "crash",
  Unicode = "unicode",
  Lines = "lines",
  Memory = "memory",
  Loop = "loop",
  File = "file",
}

namespace Text {
  export const horse: string = "žluťoučký 🐎 漢字";
}

const [mode, ...rest] = process.argv.slice(2) as [Mode, ...string[]];
switch (mode) {
  case Mode.Echo:
    for (const line of fs.readFileSync(0, "utf8").split("\n").filter(Boolean)) console.log("got", line);
    break;
  case Mode.Args:
    console.log(rest.join("\n"));
    break;
  case Mode.Exit:
    process.exit(3);
  case Mode.Stderr:
    console.error("oops");
    break;
  case Mode.Crash:
    process.abort();
  case Mode.Unicode:
    console.log(Text.horse);
    break;
  case Mode.Lines:
    for (let number: number = 1; number <= 200; number++) console.log("line", number);
    break;
  case Mode.Memory:
    for (const kept: Buffer[] = []; ; ) kept.push(Buffer.alloc(16 << 20, 1));
  case Mode.Loop:
    console.log("before");
    for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
  case Mode.File:
    fs.writeFileSync("out.txt", "made here\n");
}
