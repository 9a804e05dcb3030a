//! A day, for saying when a price was looked up.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// A day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    year: i64,
    month: i64,
    day: i64,
}

impl Date {
    /// From `YYYY-MM-DD`.
    pub fn parse(text: &str) -> Option<Date> {
        let mut parts = text.splitn(3, '-').map(|part| {
            let digits = part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse::<i64>().ok().filter(|_| digits)
        });
        let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
        let real =
            (1..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
        real.then_some(Date { year, month, day })
    }

    /// The day it is, in UTC.
    pub fn today() -> Date {
        Date::of(SystemTime::now())
    }

    /// The day of a moment, in UTC.
    pub(crate) fn of(moment: SystemTime) -> Date {
        let seconds = moment.duration_since(UNIX_EPOCH);
        Date::from_days(seconds.map_or(0, |time| (time.as_secs() / 86_400) as i64))
    }

    /// Days since 1970-01-01. Years begin in March here, so that a leap day is the last.
    fn days(self) -> i64 {
        let year = self.year - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let of_era = year - era * 400;
        let of_year = (153 * ((self.month + 9) % 12) + 2) / 5 + self.day - 1;
        era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
    }

    fn from_days(days: i64) -> Date {
        let days = days + 719_468;
        let era = days.div_euclid(146_097);
        let of_era = days - era * 146_097;
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        Date {
            year: year + era * 400 + i64::from(month <= 2),
            month,
            day,
        }
    }

    /// Days from an earlier day to this one.
    pub(crate) fn days_since(self, earlier: Date) -> i64 {
        self.days() - earlier.days()
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

#[cfg(test)]
mod tests {
    use super::Date;

    #[test]
    fn days_are_counted_over_months_and_leap_years() {
        let date = |text| Date::parse(text).expect("a date");
        assert_eq!(date("1970-01-01").days(), 0);
        assert_eq!(date("2025-03-01").days_since(date("2024-03-01")), 365);
        assert_eq!(date("2024-03-01").days_since(date("2024-02-28")), 2);
        for days in (-200_000..400_000).step_by(37) {
            assert_eq!(Date::from_days(days).days(), days);
        }
        assert_eq!(Date::parse("2025-1"), None);
        assert_eq!(Date::parse("+025-01-01"), None);
        assert!(Date::today() > date("2025-01-01"));
    }
}
