import type { CommandSpec } from "../command-spec.ts";

export const completionSpec = {
  name: "completion",
  summary: "print a script that teaches a shell to complete what you type",
  arguments: [{ name: "<shell>", summary: "bash, zsh or fish", completes: ["bash", "zsh", "fish"] }],
  options: {},
  examples: [
    {
      command: "holdfast completion bash > ~/.local/share/bash-completion/completions/holdfast",
      does: "for bash, from the next shell on",
    },
    { command: "holdfast completion zsh > ~/.zfunc/_holdfast", does: "for zsh, where ~/.zfunc is in $fpath" },
    { command: "holdfast completion fish > ~/.config/fish/completions/holdfast.fish", does: "for fish" },
  ],
  printsOnly: true,
} satisfies CommandSpec;
