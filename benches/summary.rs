//! Collects the figures of all programs in one table and one plot. `benches/run` runs it last.

use std::{env, fmt::Write as _, fs};

const WIDTH: u32 = 800;
const MARGIN: u32 = 24;
const NAMES: u32 = 300;
/// The positions where bars start and where the longest may end.
const LEFT: u32 = MARGIN + NAMES;
const RIGHT: u32 = WIDTH - MARGIN - 70;
const BAR: u32 = 16;
const STEP: u32 = 24;

const TEXT: &str = "#1f2328";
const FAINT: &str = "#656d76";
const GRID: &str = "#d0d7de";
const OURS: &str = "#0969da";
const THEIRS: &str = "#8c959f";

fn main() {
    let Some(file) = env::var_os("TTN_BENCH_FIGURES") else {
        println!("Nothing to sum up: TTN_BENCH_FIGURES names no file.");
        return;
    };
    let text = fs::read_to_string(file).unwrap_or_default();
    let lines = text.lines().map(|line| line.split('\t').collect());
    let (bars, mut rows): (Vec<Vec<&str>>, Vec<_>) =
        lines.partition(|fields: &Vec<&str>| fields[0] == "plot");
    rows.sort_by_key(|fields| fields[0].parse::<u32>().unwrap_or(u32::MAX));
    table(&rows);
    if let Some(plot) = env::var_os("TTN_BENCH_PLOT") {
        let panels = panels(&bars);
        if !panels.is_empty() {
            let stamp = env::var("TTN_BENCH_STAMP").unwrap_or_default();
            fs::write(plot, svg(&panels, &stamp)).expect("the plot can be written");
        }
    }
}

fn table(rows: &[Vec<&str>]) {
    println!("| what | against | reach | median | min – max | reached? |");
    println!("| --- | --- | --- | ---: | ---: | --- |");
    for fields in rows {
        match fields[..] {
            [_, what, against, reach, median, min, max] => {
                let [middle, low, high] = [median, min, max].map(|text| ratio(number(text)));
                let reached = reached(reach, number(median));
                println!(
                    "| {what} | {against} | {reach} | {middle} | {low} – {high} | {reached} |"
                );
            }
            [_, what, against, reach, why] => {
                println!("| {what} | {against} | {reach} | – | – | left out: {why} |");
            }
            _ => println!("| {} | – | – | – | – | cannot be read |", fields.join(" ")),
        }
    }
    println!();
}

fn reached(reach: &str, median: f64) -> &'static str {
    let mut words = reach.split(' ');
    let (sign, Some(limit)) = (words.next(), words.next()) else {
        return "–";
    };
    let yes = match sign {
        Some("≤") => median <= number(limit),
        Some("≥") => median >= number(limit),
        _ => return "–",
    };
    if yes { "yes" } else { "**no**" }
}

fn number(text: &str) -> f64 {
    text.parse().unwrap_or(f64::NAN)
}

fn ratio(value: f64) -> String {
    let decimals = match value.abs() {
        0.0..0.1 => 3,
        0.1..10.0 => 2,
        _ => 1,
    };
    format!("{value:.decimals$}")
}

struct Panel<'a> {
    title: &'a str,
    bars: Vec<Bar<'a>>,
}

struct Bar<'a> {
    name: &'a str,
    median: f64,
    min: f64,
    max: f64,
}

/// Returns the panels, in the order of their first bars.
fn panels<'a>(lines: &[Vec<&'a str>]) -> Vec<Panel<'a>> {
    let mut panels: Vec<Panel<'_>> = Vec::new();
    for fields in lines {
        let [_, title, name, figures @ ..] = &fields[..] else {
            continue;
        };
        let figures: Vec<_> = figures.iter().map(|text| number(text)).collect();
        let [median, min, max] = figures[..] else {
            continue;
        };
        if !figures.iter().all(|figure| figure.is_finite()) {
            continue;
        }
        let bar = Bar {
            name,
            median,
            min,
            max,
        };
        match panels.iter_mut().find(|panel| panel.title == *title) {
            Some(panel) => panel.bars.push(bar),
            None => panels.push(Panel {
                title,
                bars: vec![bar],
            }),
        }
    }
    panels
}

fn svg(panels: &[Panel<'_>], stamp: &str) -> String {
    let mut body = String::new();
    let mut top = MARGIN;
    for panel in panels {
        top = draw(&mut body, panel, top) + MARGIN;
    }
    let note = format!("Bars: median of rounds; lines: min – max. {stamp}");
    text(&mut body, MARGIN, top + 4, "start", 11, FAINT, &note);
    let height = top + MARGIN;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\">\n\
         <title>Throughput, CPU time and latency</title>\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n{body}</svg>\n"
    )
}

/// Draws a panel and returns where it ends.
fn draw(body: &mut String, panel: &Panel<'_>, top: u32) -> u32 {
    // The unit, at the end of the title, belongs to the axis.
    let (title, unit) = panel.title.rsplit_once(", ").unwrap_or((panel.title, ""));
    text(body, MARGIN, top + 12, "start", 14, TEXT, title);
    let bars_top = top + 24;
    let bars_end = bars_top + STEP * panel.bars.len() as u32;
    let longest = panel.bars.iter().map(|bar| bar.max).fold(0.0, f64::max);
    let tick = tick(longest);
    let x = |value: f64| LEFT + (value / longest * f64::from(RIGHT - LEFT)).round() as u32;
    let axis = bars_end + 14;
    text(body, LEFT - 16, axis, "end", 11, FAINT, unit);
    let mut at = 0.0;
    while at <= longest {
        let column = x(at);
        line(body, [column, bars_top, column, bars_end], GRID);
        let label = format!("{at:.*}", usize::from(tick < 1.0));
        text(body, column, axis, "middle", 11, FAINT, &label);
        at += tick;
    }
    for (bar, row) in panel.bars.iter().zip((bars_top..).step_by(STEP as usize)) {
        let name = bar.name.replace('`', "");
        text(body, LEFT - 8, row + 16, "end", 12, TEXT, &name);
        let ours = ["`set_uplink_callback`", "`events()`"]
            .iter()
            .any(|start| bar.name.starts_with(start));
        let fill = if ours { OURS } else { THEIRS };
        let (width, y) = (x(bar.median) - LEFT, row + (STEP - BAR) / 2);
        let _ = writeln!(
            body,
            "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{width}\" height=\"{BAR}\" fill=\"{fill}\"/>"
        );
        let middle = row + STEP / 2;
        line(body, [x(bar.min), middle, x(bar.max), middle], TEXT);
        let median = ratio(bar.median);
        text(body, x(bar.max) + 6, row + 16, "start", 12, TEXT, &median);
    }
    bars_end + 20
}

/// Returns a step of 1, 2 or 5 times a power of ten, so that there are at most six ticks.
fn tick(longest: f64) -> f64 {
    let power = 10_f64.powf((longest / 6.0).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    let wide = steps.into_iter().find(|step| longest / step <= 6.0);
    wide.unwrap_or(longest)
}

fn line(body: &mut String, [x1, y1, x2, y2]: [u32; 4], stroke: &str) {
    let _ = writeln!(
        body,
        "<line x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" stroke=\"{stroke}\"/>"
    );
}

fn text(body: &mut String, x: u32, y: u32, anchor: &str, size: u32, fill: &str, words: &str) {
    let words = words
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;");
    let _ = writeln!(
        body,
        "<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\" font-size=\"{size}\" fill=\"{fill}\">{words}</text>"
    );
}
