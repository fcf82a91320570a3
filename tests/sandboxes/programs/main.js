const fs = require("fs");
const [mode, ...rest] = process.argv.slice(2);
switch (mode) {
  case "echo":
    for (const line of fs.readFileSync(0, "utf8").split("\n").filter(Boolean)) console.log("got", line);
    break;
  case "args":
    console.log(rest.join("\n"));
    break;
  case "exit":
    process.exit(3);
  case "stderr":
    console.error("oops");
    break;
  case "crash":
    process.abort();
  case "unicode":
    console.log("žluťoučký 🐎 漢字");
    break;
  case "lines":
    for (let number = 1; number <= 200; number++) console.log("line", number);
    break;
  case "memory":
    for (const kept = []; ; ) kept.push(Buffer.alloc(16 << 20, 1));
  case "loop":
    console.log("before");
    for (;;) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
  case "file":
    fs.writeFileSync("out.txt", "made here\n");
}
