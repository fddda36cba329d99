/** When the agent runs by itself: a timer of systemd, or a line of cron where there is no systemd. */
import { randomInt } from "node:crypto";
import { UsageError } from "../errors.ts";
import { parseSchedule } from "../fleet/schedule.ts";

export interface TimerFile {
  readonly file: string;
  readonly content: string;
}

export interface TimerRequest {
  readonly schedule: string;
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

const HOUR_MS = 3_600_000;

/** `random` gives a whole number below its argument: the hosts of a fleet shall not all begin at once. */
export function planTimer(request: TimerRequest, random: (below: number) => number = randomInt): TimerFile[] {
  const { schedule, programFile, folder, hasSystemd } = request;
  const command = `${programFile} agent run --agent-folder ${folder}`;
  const parsed = parseSchedule(schedule);
  if (!hasSystemd) {
    return [
      {
        file: TIMER_FILES[2],
        content: `# When Holdfast saves this host.\nPATH=/usr/sbin:/usr/bin:/sbin:/bin\n${cronLine(schedule, random)} root ${command} --quiet\n`,
      },
    ];
  }
  const when =
    parsed.kind === "cron"
      ? [`OnCalendar=${calendarOf(parsed.pattern)}`]
      : [`OnCalendar=${calendarOfInterval(parsed.intervalMs, random)}`];
  return [
    {
      file: TIMER_FILES[0],
      content: `[Unit]
Description=Holdfast backup of this host
After=network-online.target
Wants=network-online.target

[Service]
Type=oneshot
ExecStart=${command} --quiet
# Files that could not be read are told, and no failure of the service.
SuccessExitStatus=3
Nice=10
IOSchedulingClass=idle
`,
    },
    {
      file: TIMER_FILES[1],
      content: `[Unit]
Description=When Holdfast saves this host

[Timer]
${when.join("\n")}
Persistent=true

[Install]
WantedBy=timers.target
`,
    },
  ];
}

/** systemd.time(7). Intervals that do not divide a day or an hour are rounded down to one that does. */
function calendarOfInterval(intervalMs: number, random: (below: number) => number): string {
  const minute = String(random(60)).padStart(2, "0");
  if (intervalMs >= 7 * 24 * HOUR_MS) return `Sun *-*-* ${String(random(6)).padStart(2, "0")}:${minute}:00`;
  if (intervalMs >= 24 * HOUR_MS) return `*-*-* ${String(random(6)).padStart(2, "0")}:${minute}:00`;
  if (intervalMs >= HOUR_MS) return `*-*-* 0/${divisorBelow(24, intervalMs / HOUR_MS)}:${minute}:00`;
  return `*-*-* *:0/${divisorBelow(60, intervalMs / 60_000)}:00`;
}

function cronLine(schedule: string, random: (below: number) => number): string {
  const parsed = parseSchedule(schedule);
  if (parsed.kind === "cron") return parsed.pattern;
  const minute = random(60);
  const { intervalMs } = parsed;
  if (intervalMs >= 7 * 24 * HOUR_MS) return `${minute} ${random(6)} * * 0`;
  if (intervalMs >= 24 * HOUR_MS) return `${minute} ${random(6)} * * *`;
  if (intervalMs >= HOUR_MS) return `${minute} */${divisorBelow(24, intervalMs / HOUR_MS)} * * *`;
  return `*/${divisorBelow(60, intervalMs / 60_000)} * * * *`;
}

function divisorBelow(whole: number, wanted: number): number {
  let divisor = Math.max(1, Math.floor(wanted));
  while (whole % divisor !== 0) divisor--;
  return divisor;
}

/** A line of cron as systemd writes it, where that is possible: numbers, lists, `*` and steps. */
function calendarOf(pattern: string): string {
  const [minute, hour, day, month, weekday] = pattern.split(/\s+/);
  const field = (text: string): string => {
    const step = /^\*\/(\d+)$/.exec(text);
    if (step !== null) return `0/${step[1]}`;
    if (/^(\*|\d+(,\d+)*)$/.test(text)) return text;
    throw new UsageError(`the schedule "${pattern}" cannot be made a timer of systemd`, {
      hint: "use numbers, lists, * and */n, or an interval such as every 4h",
    });
  };
  const days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
  const named =
    weekday === "*"
      ? ""
      : `${field(weekday)
          .split(",")
          .map((number) => days[Number(number)])
          .join(",")} `;
  return `${named}*-${field(month)}-${field(day)} ${field(hour)}:${field(minute)}:00`;
}
