//! The table of the devices, as lines.

use std::time::Duration;

use console::{Alignment, Style, measure_text_width, pad_str, truncate_str};
use ttn::FairUse;

use super::row::Row;
use crate::escape::escaped;

/// The fewest characters of a column that can be cut.
const LEAST: usize = 8;

const BETWEEN: &str = "  ";

/// A column of the table.
#[derive(Clone, Copy)]
struct Column {
    title: &'static str,
    alignment: Alignment,
    /// Those with the highest number go first if the table is too wide.
    rank: u8,
    /// Whether it may be cut.
    can_be_cut: bool,
    text: fn(&Row) -> String,
}

const fn column(title: &'static str, rank: u8, text: fn(&Row) -> String) -> Column {
    Column {
        title,
        alignment: Alignment::Right,
        rank,
        can_be_cut: false,
        text,
    }
}

const fn left(column: Column) -> Column {
    Column {
        alignment: Alignment::Left,
        ..column
    }
}

const fn cut(column: Column) -> Column {
    Column {
        can_be_cut: true,
        ..left(column)
    }
}

/// All columns, in their order.
const COLUMNS: [Column; 18] = [
    cut(column("DEVICE", 0, |row| escaped(&row.dev_id).into_owned())),
    left(column("STATE", 1, state)),
    column("HEARD", 0, |row| ago(row.heard_ago)),
    column("EVERY", 2, |row| {
        row.usual_interval.map_or_else(none, interval)
    }),
    column("COUNTER", 4, |row| row.counter.to_string()),
    column("LOST", 3, |row| row.lost.iter().sum::<u64>().to_string()),
    column("AWAY", 12, |row| row.lost[0].to_string()),
    column("DROPPED", 13, |row| row.lost[1].to_string()),
    column("UPSTREAM", 12, |row| row.lost[2].to_string()),
    column("LATE/REP/RESET", 15, |row| {
        let [late, repeated, resets] = row.odd;
        format!("{late}/{repeated}/{resets}")
    }),
    cut(column("GATEWAY", 7, |row| match &*row.gateway {
        "" => none(),
        gateway => escaped(gateway).into_owned(),
    })),
    column("RSSI", 5, |row| number(row.rssi, "dBm")),
    column("SNR", 6, |row| number(row.snr, "dB")),
    left(column("RATE", 8, |row| match &*row.data_rate {
        "" => none(),
        rate => escaped(rate).into_owned(),
    })),
    column("AIRTIME TODAY", 9, airtime),
    column("UP/DOWN", 11, |row| {
        format!("{}/{}", row.uplinks, row.downlinks)
    }),
    column("OPEN", 14, |row| row.open_downlinks.to_string()),
    column("BATTERY", 10, |row| number(row.battery, "%")),
];

/// Only where there is room for everything.
const DEV_EUI: Column = left(column("DEVEUI", 16, |row| match &*row.dev_eui {
    "" => none(),
    dev_eui => escaped(dev_eui).into_owned(),
}));

fn none() -> String {
    "-".to_owned()
}

fn state(row: &Row) -> String {
    let state = match row.usual_interval {
        _ if row.is_silent => "silent",
        None => "new",
        Some(usual) if row.heard_ago > usual * 2 => "late",
        Some(_) => "ok",
    };
    state.to_owned()
}

fn number(value: Option<f64>, unit: &str) -> String {
    value.map_or_else(none, |value| {
        // Not -0.
        let rounded = (value * 10.0).round() / 10.0 + 0.0;
        format!("{rounded} {unit}")
    })
}

fn airtime(row: &Row) -> String {
    let seconds = row.airtime.as_secs_f64();
    let share = 100.0 * seconds / FairUse::AIRTIME.as_secs_f64();
    format!("{seconds:.1} s {share:>3.0} %")
}

/// Returns how long ago something was.
fn ago(time: Duration) -> String {
    match time.as_secs() {
        0 => "now".to_owned(),
        seconds => units(seconds),
    }
}

/// Returns an interval. Of a second and more, it is rounded to the second: one of 1.99 s is one of 2 s.
fn interval(time: Duration) -> String {
    match time.as_secs() {
        0 => format!("{} ms", time.as_millis()),
        _ => units(time.as_secs_f64().round() as u64),
    }
}

/// Returns a number of seconds in at most two units.
fn units(seconds: u64) -> String {
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let first = units.iter().position(|(_, unit)| seconds >= *unit);
    let first = first.unwrap_or(units.len() - 1);
    let (name, unit) = units[first];
    let text = format!("{}{name}", seconds / unit);
    match units.get(first + 1) {
        Some((name, smaller)) if seconds % unit >= *smaller => {
            format!("{text} {}{name}", seconds % unit / smaller)
        }
        _ => text,
    }
}

/// Returns the table: a line of titles, and one for each device, none of them wider than `width`.
pub(super) fn lines(rows: &[Row], width: usize, has_colours: bool) -> Vec<String> {
    let mut columns = COLUMNS.to_vec();
    columns.push(DEV_EUI);
    let mut cells: Vec<Vec<String>> = columns
        .iter()
        .map(|column| rows.iter().map(column.text).collect())
        .collect();
    let mut widths: Vec<usize> = columns
        .iter()
        .zip(&cells)
        .map(|(column, cells)| {
            let cells = cells.iter().map(|cell| measure_text_width(cell));
            cells.max().unwrap_or(0).max(column.title.len())
        })
        .collect();
    // Ids are cut before anything else is left out, but not to less than half of the line.
    while total(&widths) > width {
        let surplus = total(&widths) - width;
        let longest = (0..columns.len())
            .filter(|number| columns[*number].can_be_cut && widths[*number] > 2 * LEAST)
            .max_by_key(|number| widths[*number]);
        if let Some(longest) = longest {
            widths[longest] = (widths[longest].saturating_sub(surplus)).max(2 * LEAST);
            continue;
        }
        let last = (0..columns.len())
            .filter(|number| columns[*number].rank > 0)
            .max_by_key(|number| (columns[*number].rank, *number));
        let Some(last) = last else {
            widths[0] = widths[0].saturating_sub(surplus).max(LEAST);
            break;
        };
        columns.remove(last);
        cells.remove(last);
        widths.remove(last);
    }
    let line = |cells: Vec<&str>| {
        let parts: Vec<_> = columns
            .iter()
            .zip(&widths)
            .zip(cells)
            .map(|((column, width), cell)| {
                let cell = truncate_str(cell, *width, "…");
                pad_str(&cell, *width, column.alignment, None).into_owned()
            })
            .collect();
        let line = parts.join(BETWEEN);
        truncate_str(line.trim_end(), width, "…").into_owned()
    };
    let titles = line(columns.iter().map(|column| column.title).collect());
    let mut lines = vec![painted(Style::new().bold(), titles, has_colours)];
    for (number, row) in rows.iter().enumerate() {
        let line = line(cells.iter().map(|cells| cells[number].as_str()).collect());
        let style = match row {
            row if row.is_silent => Style::new().red(),
            row if row.is_over_fair_use() => Style::new().yellow(),
            _ => Style::new(),
        };
        lines.push(painted(style, line, has_colours));
    }
    lines
}

fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + BETWEEN.len() * widths.len().saturating_sub(1)
}

fn painted(style: Style, line: String, has_colours: bool) -> String {
    match has_colours {
        true => style.force_styling(true).apply_to(line).to_string(),
        false => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(dev_id: &str) -> Row {
        Row {
            dev_id: dev_id.to_owned(),
            dev_eui: "70B3D57ED0000007".to_owned(),
            heard_ago: Duration::from_secs(754),
            usual_interval: Some(Duration::from_secs(900)),
            counter: 4711,
            lost: [3, 0, 12],
            odd: [1, 2, 0],
            gateway: "roof-north".to_owned(),
            rssi: Some(-112.0),
            snr: Some(-3.25),
            data_rate: "SF9BW125".to_owned(),
            airtime: Duration::from_millis(12_340),
            uplinks: 60,
            downlinks: 2,
            battery: Some(93.7),
            ..Row::default()
        }
    }

    #[test]
    fn a_wide_table_has_everything() {
        let silent = Row {
            is_silent: true,
            heard_ago: Duration::from_secs(2 * 86_400 + 5 * 3_600),
            ..row("pump-1")
        };
        let unknown = Row {
            dev_id: "new-1".to_owned(),
            ..Row::default()
        };
        let lines = lines(&[row("bed-07"), silent, unknown], usize::MAX, false);
        assert_eq!(
            lines.join("\n"),
            "\
DEVICE  STATE     HEARD  EVERY  COUNTER  LOST  AWAY  DROPPED  UPSTREAM  LATE/REP/RESET  GATEWAY         RSSI      SNR  RATE      AIRTIME TODAY  UP/DOWN  OPEN  BATTERY  DEVEUI
bed-07  ok      12m 34s    15m     4711    15     3        0        12           1/2/0  roof-north  -112 dBm  -3.3 dB  SF9BW125   12.3 s  41 %     60/2     0   93.7 %  70B3D57ED0000007
pump-1  silent    2d 5h    15m     4711    15     3        0        12           1/2/0  roof-north  -112 dBm  -3.3 dB  SF9BW125   12.3 s  41 %     60/2     0   93.7 %  70B3D57ED0000007
new-1   new         now      -        0     0     0        0         0           0/0/0  -                  -        -  -           0.0 s   0 %      0/0     0        -  -"
        );
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let rows = [
            row("bed-07"),
            row(&"long-".repeat(20)),
            row("温度计-7-温度计-温度计"),
            row("e\u{301}e\u{301}"),
            row("🌱🌱🌱🌱🌱🌱🌱🌱🌱🌱"),
            row(""),
        ];
        for width in 1..250 {
            for has_colours in [false, true] {
                for line in lines(&rows, width, has_colours) {
                    let is = measure_text_width(&line);
                    assert!(is <= width, "{is} of {width}: {line:?}");
                }
            }
        }
        let narrow = lines(&rows, 40, false);
        assert!(
            narrow[0].starts_with("DEVICE") && narrow[0].contains("HEARD"),
            "{narrow:#?}"
        );
    }

    #[test]
    fn columns_are_aligned_whatever_ids_consist_of() {
        let rows = [row("bed-07"), row("温度"), row("é")];
        let lines = lines(&rows, 200, false);
        let place = |line: &String| {
            let (before, _) = line.split_once("12m 34s").expect("it is there");
            measure_text_width(before)
        };
        assert_eq!(place(&lines[1]), place(&lines[2]));
        assert_eq!(place(&lines[1]), place(&lines[3]));
    }

    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        let evil = Row {
            gateway: "g\u{9b}31m".to_owned(),
            data_rate: "SF\r\n7".to_owned(),
            dev_eui: "\u{7}".to_owned(),
            ..row("a\x1b[2J\u{202e}b\n")
        };
        let lines = lines(&[evil], usize::MAX, false);
        assert_eq!(lines.len(), 2);
        assert!(
            !lines[1].contains(|it: char| it.is_control() || it == '\u{202e}'),
            "{:?}",
            lines[1]
        );
        assert!(
            lines[1].starts_with(r"a\u{1b}[2J\u{202e}b\u{a}"),
            "{:?}",
            lines[1]
        );
    }

    #[test]
    fn a_time_has_at_most_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3_600, "1h"),
            (3_659, "1h"),
            (3_660, "1h 1m"),
            (90_061, "1d 1h"),
            (100_000_000, "1157d 9h"),
        ] {
            assert_eq!(units(seconds), text);
        }
        assert_eq!(ago(Duration::from_millis(999)), "now");
        assert_eq!(ago(Duration::from_millis(59_999)), "59s");
        assert_eq!(interval(Duration::from_millis(250)), "250 ms");
        assert_eq!(interval(Duration::from_millis(59_500)), "1m");
    }
}
