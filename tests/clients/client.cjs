/*
 * A chat front end reduced to what it does with this service: the real tools and the real ToolNode of one
 * version of @librechat/agents, and file requests with the libraries and headers the front end uses.
 *
 * Started with the package's folder. One command a line on stdin, one answer a line on stdout; see
 * conversation.py. New commands go into `commands` below.
 */
'use strict';

console.log = console.info = console.debug = console.error; // stdout is for answers

const path = require('path');
const readline = require('readline');

const [folder] = process.argv.slice(2);
const inside = (name) => require(path.join(folder, 'dist', 'cjs', name));
const fromHere = (name) => require(require.resolve(name, { paths: [folder] }));

const axios = fromHere('axios');
const FormData = fromHere('form-data');
const { AIMessage } = fromHere('@langchain/core/messages');
const { ToolNode } = inside('tools/ToolNode.cjs');

const base = process.env.LIBRECHAT_CODE_BASEURL.replace(/\/+$/, '');
let fileHeaders, sessions, tools, node;
let calls = 0;

function toolOf(file, make, params) {
  try {
    return inside(file)[make](params);
  } catch (error) {
    if (error.code === 'MODULE_NOT_FOUND') return null; // this version has no such tool
    throw error;
  }
}

const commands = {
  /* Begins a conversation: `params` for the tools, a `token` for whoever supplies headers, or fixed ones. */
  async begin({ params, token, headers }) {
    fileHeaders = token ? { Authorization: `Bearer ${token}` } : (headers ?? {});
    const all = token ? { ...params, authHeaders: async () => fileHeaders } : params;
    sessions = new Map();
    tools = [
      toolOf('tools/CodeExecutor.cjs', 'createCodeExecutionTool', all),
      toolOf('tools/BashExecutor.cjs', 'createBashExecutionTool', all),
      toolOf('tools/ProgrammaticToolCalling.cjs', 'createProgrammaticToolCallingTool', all),
      toolOf('tools/BashProgrammaticToolCalling.cjs', 'createBashProgrammaticToolCallingTool', all),
    ].filter(Boolean);
    node = new ToolNode({ tools, sessions });
    return { tools: tools.map((tool) => tool.name) };
  },
  /* Calls a tool as a model would; the ToolNode adds and keeps the files of the conversation. */
  async call({ name, args }) {
    const message = new AIMessage({ content: '', tool_calls: [{ id: `call_${++calls}`, name, args }] });
    const [answer] = (await node.invoke({ messages: [message] })).messages;
    return { text: answer.content, artifact: answer.artifact ?? null, status: answer.status ?? null };
  },
  /* Calls a tool outside of any graph, with the session that the model or the host names. */
  async callAlone({ name, args, session_id }) {
    const tool = tools.find((each) => each.name === name);
    const toolCall = { id: `call_${++calls}`, name, args, type: 'tool_call', session_id };
    const answer = await tool.invoke(toolCall, { toolCall });
    return { text: answer.content, artifact: answer.artifact ?? null };
  },
  /* Calls a programmatic tool, which may call the tools of this front end: `square` and `fail`. */
  async callWithTools({ name, args }) {
    const tool = tools.find((each) => each.name === name);
    const called = [];
    const act = { square: ({ n }) => ({ n, square: n * n }), 'get-fail': () => { throw new Error('no luck'); } };
    const invoke = (of) => async (input) => { called.push(of); return act[of](input); };
    const toolMap = new Map(Object.keys(act).map((of) => [of, { name: of, schema: { type: 'object' }, invoke: invoke(of) }]));
    const parameters = { type: 'object', properties: { n: { type: 'number' } }, required: ['n'] };
    const toolDefs = [{ name: 'square', description: 'Squares.', parameters }, { name: 'get-fail' }];
    const toolCall = { id: `call_${++calls}`, name, args, type: 'tool_call', toolMap, toolDefs };
    const answer = await tool.invoke(toolCall, { toolCall });
    return { text: answer.content, artifact: answer.artifact ?? null, called };
  },
  async session() {
    return sessions.get('execute_code') ?? null;
  },
  /* Puts an uploaded file into the conversation, as the host does before the first call. */
  async remember({ session_id, file }) {
    const known = sessions.get('execute_code');
    sessions.set('execute_code', { session_id, files: [...(known?.files ?? []), file], lastUpdated: Date.now() });
    return {};
  },
  async upload({ fields, files, batch }) {
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) form.append(name, value);
    // `filename` would lose the folders.
    for (const { name, content } of files) form.append('file', Buffer.from(content), { filepath: name });
    const headers = { ...form.getHeaders(), 'User-Id': 'user-of-the-front-end', 'User-Agent': 'LibreChat/1.0' };
    return ask({ method: 'post', url: batch ? '/upload/batch' : '/upload', data: form, headers });
  },
  async get({ url }) {
    return ask({ method: 'get', url, headers: { 'User-Agent': 'LibreChat/1.0' }, timeout: 5000 });
  },
  async download({ url }) {
    const answer = await axios({
      method: 'get',
      url: base + url,
      responseType: 'stream',
      headers: { 'User-Agent': 'LibreChat/1.0', ...fileHeaders },
      timeout: 15000,
    });
    const pieces = [];
    for await (const piece of answer.data) pieces.push(piece);
    return { content: Buffer.concat(pieces).toString('latin1'), headers: answer.headers };
  },
};

async function ask({ headers, ...request }) {
  const all = { ...headers, ...fileHeaders };
  const answer = await axios({ ...request, url: base + request.url, headers: all, validateStatus: () => true });
  return { status: answer.status, body: answer.data };
}

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const { command, ...rest } = JSON.parse(line);
    let answer;
    try {
      answer = { answer: await commands[command](rest) };
    } catch (error) {
      answer = { error: String(error?.message ?? error) };
    }
    process.stdout.write(JSON.stringify(answer) + '\n');
  }
})();
