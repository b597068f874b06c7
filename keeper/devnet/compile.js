// Reads {"modules": folder, "solc": folder, "input": standard JSON input} on stdin, writes solc's output on stdout.
// Imports are read from the modules folder; the input's own sources come first.
"use strict";
const fs = require("fs");
const path = require("path");

const job = JSON.parse(fs.readFileSync(0, "utf8"));
const solc = require(path.join(job.solc, "solc"));

function readImport(name) {
  try {
    return { contents: fs.readFileSync(path.join(job.modules, name), "utf8") };
  } catch (error) {
    return { error: String(error.message) };
  }
}

process.stdout.write(solc.compile(JSON.stringify(job.input), { import: readImport }));
