// A Node.js that has started ahead of its program (`node --require` this file) and waits for an order.
//
// What node does anyway comes after: it runs the main file of its command line, so modules of both kinds,
// errors and exit codes are its own. The order is read from the fifo .order beside this file, one word a
// line, percent-encoded, each after what it is for: `build`, `main` or `arg`. The fifo .word tells the
// service `ready`, and `built` once a build (TypeScript's) has gone well. Both end before the program starts.
"use strict";

const { spawnSync } = require("child_process");
const fs = require("fs");
const { isMainThread } = require("worker_threads");

if (isMainThread) wait(); // a worker thread loads this file too

function wait() {
  loadWhatProgramsUse();
  const fifo = fs.openSync(`${__dirname}/.order`); // before we say a word: then both names are gone
  const word = fs.openSync(`${__dirname}/.word`, "w");
  fs.writeSync(word, "ready\n");
  const order = readOrder(fifo);
  hide();
  process.argv.push(...order.arg);
  if (order.build.length) build(order.build, word);
  fs.closeSync(word);
}

function loadWhatProgramsUse() {
  // what `console.log` to a pipe takes, without touching the pipe
  for (const name of ["console", "events", "net", "os", "path", "stream", "tty", "util"]) require(name);
  require("util").inspect({ a: [1, "text"], b: new Map() });
}

function readOrder(fifo) {
  const order = { build: [], main: [], arg: [] };
  for (const line of fs.readFileSync(fifo, "utf8").split("\n").slice(0, -1)) {
    const [kind, value] = line.split(" ");
    order[kind].push(decodeURIComponent(value));
  }
  fs.closeSync(fifo);
  return order;
}

function hide() {
  const isOurs = (word) => word === "--require" || word === __filename;
  process.execArgv = process.execArgv.filter((word) => !isOurs(word));
  process._preload_modules.length = 0;
  delete require.cache[__filename];
}

function build([command, ...words], word) {
  const { status, signal } = spawnSync(command, words, { cwd: __dirname, stdio: ["ignore", 1, 2] });
  if (signal) process.kill(process.pid, signal);
  if (status !== 0) process.exit(status ?? 1);
  fs.writeSync(word, "built\n");
}
