//! `strftime_now`: local time as Python's `datetime.now().strftime` writes it.

use std::fmt::Write;

use chrono::NaiveDateTime;

/// `format` with its codes replaced, as the C library does it in the locale "C". A code that does
/// not exist stays as it is; a time without a zone has nothing to say for `%z` and `%Z`.
pub(crate) fn strftime(now: &NaiveDateTime, format: &str) -> String {
    let mut out = String::with_capacity(format.len());
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let flag = rest[1..].starts_with(['-', '_', '0', '^', '#']);
        let code_at = if flag { 2 } else { 1 };
        let Some(code) = rest[code_at..].chars().next() else {
            break;
        };
        let whole = &rest[..code_at + code.len_utf8()];
        write_code(now, whole, code, &mut out);
        rest = &rest[whole.len()..];
    }
    out.push_str(rest);
    out
}

fn write_code(now: &NaiveDateTime, whole: &str, code: char, out: &mut String) {
    let upper = whole.starts_with("%^") || whole.starts_with("%#");
    let chrono_code = match code {
        'z' | 'Z' => return,
        // Python's own code: microseconds.
        'f' => {
            let _ = write!(out, "{:06}", now.and_utc().timestamp_subsec_micros());
            return;
        }
        's' => {
            let _ = write!(out, "{}", now.and_utc().timestamp());
            return;
        }
        'c' => "%a %b %e %H:%M:%S %Y".to_owned(),
        'x' => "%m/%d/%y".to_owned(),
        'X' => "%H:%M:%S".to_owned(),
        'r' => "%I:%M:%S %p".to_owned(),
        'n' => "\n".to_owned(),
        't' => "\t".to_owned(),
        _ if upper => format!("%{code}"),
        _ => whole.to_owned(),
    };
    let known = "aAbBCdDeFgGhHIjklmMpPRSTuUVwWyY%cxXrnt".contains(code);
    let mut written = String::new();
    if !known || write!(written, "{}", now.format(&chrono_code)).is_err() {
        written = whole.to_owned();
    }
    out.push_str(&if upper {
        written.to_uppercase()
    } else {
        written
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_c_librarys() {
        let now = "2026-01-02T03:04:05".parse().unwrap();
        for (format, expected) in [
            ("%d %b %Y", "02 Jan 2026"),
            (
                "%c|%x|%X|%r",
                "Fri Jan  2 03:04:05 2026|01/02/26|03:04:05|03:04:05 AM",
            ),
            ("%-d/%-m %_d %^a %P %k %l", "2/1  2 FRI am  3  3"),
            ("%f %z%Z %Q %", "000000  %Q %"),
            ("100%% é", "100% é"),
        ] {
            assert_eq!(strftime(&now, format), expected, "{format}");
        }
    }
}
