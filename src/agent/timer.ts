/**
 * What lets the agent run by itself: a timer of systemd, or a line of cron where there is no systemd. It only lets it
 * look, every five minutes, whether it shall: when that is, the server says, so that a schedule can change without anyone
 * on the host.
 */
import { randomInt } from "node:crypto";
import { systemdQuoted } from "../fleet/systemd-quoted.ts";
import { shellQuoted } from "../platform/shell-quoted.ts";

export interface TimerFile {
  readonly file: string;
  readonly content: string;
}

export interface TimerRequest {
  /** `bin/holdfast`. */
  readonly programFile: string;
  readonly folder: string;
  readonly hasSystemd: boolean;
}

export const TIMER_UNIT = "holdfast-agent.timer";
export const TIMER_FILES = [
  "/etc/systemd/system/holdfast-agent.service",
  "/etc/systemd/system/holdfast-agent.timer",
  "/etc/cron.d/holdfast-agent",
] as const;

const EVERY_MINUTES = 5;

/** `random` gives a whole number below its argument: the hosts of a fleet shall not all begin at once. */
export function planTimer(request: TimerRequest, random: (below: number) => number = randomInt): TimerFile[] {
  const { programFile, folder, hasSystemd } = request;
  const command = (quoted: (word: string) => string): string =>
    `${quoted(programFile)} agent run --if-due --agent-folder ${quoted(folder)} --quiet`;
  const minute = random(EVERY_MINUTES);
  if (!hasSystemd) {
    return [
      {
        file: TIMER_FILES[2],
        content: `# When Holdfast looks whether this host shall be saved.\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\n${minute}-59/${EVERY_MINUTES} * * * * root ${command(cronQuoted)}\n`,
      },
    ];
  }
  return [
    {
      file: TIMER_FILES[0],
      content: `[Unit]
Description=Holdfast backup of this host
After=network-online.target
Wants=network-online.target

[Service]
Type=oneshot
ExecStart=${command(systemdQuoted)}
# Files that could not be read are told, and no failure of the service.
SuccessExitStatus=3
Nice=10
IOSchedulingClass=idle
`,
    },
    {
      file: TIMER_FILES[1],
      content: `[Unit]
Description=When Holdfast looks whether this host shall be saved

[Timer]
OnCalendar=*:${minute}/${EVERY_MINUTES}:${random(60)}
AccuracySec=1s

[Install]
WantedBy=timers.target
`,
    },
  ];
}

/** Cron takes a percent sign for the end of a line, crontab(5). */
function cronQuoted(word: string): string {
  return shellQuoted(word).replaceAll("%", "\\%");
}
