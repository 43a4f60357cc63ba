// Parses an AsyncAPI document. Prints what the parser finds; the exit status is 1 if that is an error or a warning.
import { readFileSync } from "node:fs";
import { Parser } from "@asyncapi/parser";

const WARNING = 1;
const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], "utf8"));
const serious = diagnostics.filter((one) => one.severity <= WARNING);
for (const one of serious) console.log(one.code, one.path.join("."), one.message);
if (document) console.log(`${document.channels().all().length} channels`);
process.exitCode = document && !serious.length ? 0 : 1;
