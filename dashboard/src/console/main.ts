// The console of a VM, for its renter: a terminal on a WebSocket. The token comes in the form or in the address after `#`, which
// no server sees, is taken out of the address at once, and is kept nowhere.
import { Terminal } from "@xterm/xterm";
import "@xterm/xterm/css/xterm.css";
import "./page.css";
import { adoptStyles } from "./styles";

/** Most bytes of a message: what is pasted comes in several. */
const PIECE = 8192;

function element<T extends HTMLElement>(id: string): T {
  return document.getElementById(id) as T;
}

const form = element<HTMLFormElement>("form");
const vm = element<HTMLInputElement>("vm");
const token = element<HTMLInputElement>("token");
const state = element("state");

function tell(text: string, isBad = false): void {
  state.textContent = text;
  state.className = isBad ? "bad" : "";
}

adoptStyles();
const terminal = new Terminal({ cols: 80, rows: 24, scrollback: 5000, cursorBlink: true });
terminal.open(element("terminal"));

let socket: WebSocket | undefined;

function send(bytes: Uint8Array): void {
  if (socket?.readyState !== WebSocket.OPEN) return;
  for (let at = 0; at < bytes.length; at += PIECE) socket.send(bytes.slice(at, at + PIECE));
}

terminal.onData((text) => send(new TextEncoder().encode(text)));
terminal.onBinary((text) => send(Uint8Array.from(text, (character) => character.charCodeAt(0))));

function hear(text: string): void {
  const said = JSON.parse(text) as { type?: string; bytes?: number; error?: string; reason?: string };
  if (said.type === "opened") {
    tell("Open. Press Enter to see a prompt.");
    terminal.focus();
  } else if (said.type === "dropped") {
    terminal.write(`\r\n[${said.bytes} bytes were not taken in time]\r\n`);
  } else if (said.type === "error") tell(`${said.error}`, true);
  else if (said.type === "closed") tell(`Closed: ${said.reason}.`, true);
}

function open(): void {
  const before = socket;
  const url = new URL(`api/v1/vms/${encodeURIComponent(vm.value.trim())}/console/live`, document.baseURI);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  const opened = new WebSocket(url);
  opened.binaryType = "arraybuffer";
  socket = opened;
  before?.close();
  terminal.reset();
  tell("Opening …");
  let told = false;
  opened.onopen = () => opened.send(JSON.stringify({ type: "auth", token: token.value.trim() }));
  opened.onmessage = ({ data }) => {
    if (socket !== opened) return;
    if (typeof data === "string") {
      hear(data);
      told ||= /"(closed|error)"/.test(data);
    } else terminal.write(new Uint8Array(data as ArrayBuffer));
  };
  opened.onclose = ({ reason }) => {
    if (socket !== opened) return;
    const why = reason || "the connection was lost, or this node offers no console";
    if (!told) tell(`Closed: ${why}.`, true);
  };
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  open();
});

const given = new URLSearchParams(location.hash.slice(1));
if (location.hash) history.replaceState(null, "", location.pathname);
vm.value = given.get("vm") ?? "";
token.value = given.get("token") ?? "";
if (given.has("vm")) open();
