/** Days, weeks and months as a person at some place counts them. */

export interface CalendarDate {
  readonly year: number;
  /** 1 to 12. */
  readonly month: number;
  /** 1 to 31. */
  readonly day: number;
  /** 0 to 23. */
  readonly hour: number;
}

/** A time zone: how a moment reads on its clocks, and when a date and time on its clocks is. */
export interface Calendar {
  dateOf(timeMs: number): CalendarDate;
  /** The moment that lies `years`, `months` and `days` on the calendar before another, at the same time of the day. */
  before(timeMs: number, years: number, months: number, days: number): number;
}

/** The time zone of this process (`TZ`, /etc/localtime). */
export const localCalendar: Calendar = {
  dateOf(timeMs) {
    const date = new Date(timeMs);
    return { year: date.getFullYear(), month: date.getMonth() + 1, day: date.getDate(), hour: date.getHours() };
  },
  before(timeMs, years, months, days) {
    const date = new Date(timeMs);
    date.setFullYear(date.getFullYear() - years, date.getMonth() - months, date.getDate() - days);
    return date.getTime();
  },
};

export const utcCalendar: Calendar = {
  dateOf(timeMs) {
    const date = new Date(timeMs);
    return {
      year: date.getUTCFullYear(),
      month: date.getUTCMonth() + 1,
      day: date.getUTCDate(),
      hour: date.getUTCHours(),
    };
  },
  before(timeMs, years, months, days) {
    const date = new Date(timeMs);
    date.setUTCFullYear(date.getUTCFullYear() - years, date.getUTCMonth() - months, date.getUTCDate() - days);
    return date.getTime();
  },
};

/** Natural periods. Weeks are those of ISO 8601: from Monday, and the first of a year is the one with its first Thursday. */
export type Period = "hour" | "day" | "week" | "month" | "year";

/** A number that two moments share exactly if they lie in the same hour, day, week, month or year. */
export function periodNumber(period: Period, timeMs: number, calendar: Calendar): number {
  const date = calendar.dateOf(timeMs);
  if (period === "year") return date.year;
  if (period === "week") return isoWeekNumber(date);
  const month = date.year * 100 + date.month;
  if (period === "month") return month;
  const day = month * 100 + date.day;
  return period === "day" ? day : day * 100 + date.hour;
}

/** Year and week as YYYYWW (ISO 8601): those of the Thursday in the same week. */
export function isoWeekNumber(date: CalendarDate): number {
  const thursday = new Date(0);
  thursday.setUTCFullYear(date.year, date.month - 1, date.day);
  thursday.setUTCDate(thursday.getUTCDate() + 4 - (thursday.getUTCDay() || 7));
  const year = thursday.getUTCFullYear();
  const firstOfYear = new Date(0);
  firstOfYear.setUTCFullYear(year, 0, 1);
  const week = 1 + Math.floor((thursday.getTime() - firstOfYear.getTime()) / (7 * 86_400_000));
  return year * 100 + week;
}
