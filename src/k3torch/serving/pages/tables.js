"use strict";

const SHOWN = 100; // rows
const of = (id) => document.getElementById(id);
let found = null;

function fail(line) {
  of("result").hidden = of("save").hidden = true;
  of("error").textContent = line;
  of("error").hidden = false;
}

function shown(cell) {
  if (cell === null) return "";
  return typeof cell === "number" && !Number.isInteger(cell) ? String(Number(cell.toPrecision(6))) : String(cell);
}

function row(cells, name, first) {
  const made = document.createElement("tr");
  cells.forEach((cell, index) => {
    const one = document.createElement(name);
    one.textContent = shown(cell);
    if (index < first) one.className = "new";
    made.append(one);
  });
  return made;
}

// The predictions come first, so that they are seen on a narrow screen.
function ordered(cells) {
  return [...cells.slice(-found.added), ...cells.slice(0, -found.added)];
}

function show() {
  of("error").hidden = true;
  const ignored = found.ignored.length ? ` Ignored columns: ${found.ignored.join(", ")}.` : "";
  const part = found.rows.length > SHOWN ? `, the first ${SHOWN} of them below` : "";
  of("rows").textContent = `${found.rows.length.toLocaleString("en")} rows${part}.${ignored}`;
  of("head").replaceChildren(row(ordered(found.columns), "th", found.added));
  of("body").replaceChildren(...found.rows.slice(0, SHOWN).map((cells) => row(ordered(cells), "td", found.added)));
  of("result").hidden = of("save").hidden = false;
}

function quoted(cell) {
  const text = cell === null ? "" : String(cell);
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function save() {
  const lines = [found.columns, ...found.rows].map((cells) => cells.map(quoted).join(","));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([lines.join("\n") + "\n"], { type: "text/csv" }));
  link.download = "predictions.csv";
  link.click();
  URL.revokeObjectURL(link.href);
}

async function predict() {
  of("predict").disabled = true;
  try {
    const answer = await fetch("/table", { method: "POST", body: of("file").files[0] });
    const content = await answer.json();
    if (!answer.ok) return fail(content.error);
    found = content;
    show();
  } catch {
    fail("expected an answer, got none: is the server still running?");
  } finally {
    of("predict").disabled = false;
  }
}

async function describe() {
  const content = await (await fetch("/columns")).json();
  of("target").textContent = content.target;
  of("needed").textContent = `The table needs the columns ${content.columns.map((one) => one.name).join(", ")}.`;
}

of("file").addEventListener("change", () => { of("predict").disabled = !of("file").files.length; });
of("predict").addEventListener("click", predict);
of("save").addEventListener("click", save);
describe();
