/**
 * Text that came from elsewhere, such as tags, hosts and messages, as it may be shown to a person: what could drive a
 * terminal or turn the direction of writing is escaped (`\\x1b`). Line breaks and tabs stay.
 */
export function printable(text: string): string {
  return UNPRINTABLE.test(text) ? text.replaceAll(ALL_UNPRINTABLE, escaped) : text;
}

/** The same for what must stay on its line. */
export function printableLine(text: string): string {
  return printable(text).replaceAll(/[\t\n]/g, escaped);
}

// Our own bold text (ECMA-48, SGR) is left alone.
const ALL_UNPRINTABLE = /(?!\x1b\[(?:1|22)m)[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;
const UNPRINTABLE = new RegExp(ALL_UNPRINTABLE.source);

function escaped(character: string): string {
  const code = character.charCodeAt(0);
  if (character === "\n") return "\\n";
  if (character === "\t") return "\\t";
  return code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16)}`;
}
