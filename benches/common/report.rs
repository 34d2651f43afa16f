//! Measures one thing against another, and prints tables.

use std::{borrow::Borrow, hint::black_box, time::Instant};

/// How often [`repeated`] does its work.
const REPETITIONS: u32 = 20_000;

/// One way to do the work; `run` does it once and returns figures.
pub struct Side<'a, const N: usize> {
    name: String,
    run: Box<dyn FnMut() -> [f64; N] + 'a>,
}

impl<'a, const N: usize> Side<'a, N> {
    pub fn new(name: impl Into<String>, run: impl FnMut() -> [f64; N] + 'a) -> Self {
        Self {
            name: name.into(),
            run: Box::new(run),
        }
    }
}

impl<'a> Side<'a, 1> {
    /// Creates and drops what `make` returns, repeatedly; the figure is microseconds for each.
    pub fn repeated<T>(name: &str, make: impl Fn() -> T + 'a) -> Self {
        Self::new(name, move || [repeated(&make)])
    }
}

/// Creates and drops what `make` returns, repeatedly. Returns the microseconds for each.
pub fn repeated<T>(make: impl Fn() -> T) -> f64 {
    let start = Instant::now();
    for _ in 0..REPETITIONS {
        drop(black_box(make()));
    }
    start.elapsed().as_secs_f64() * 1e6 / f64::from(REPETITIONS)
}

/// The figures of one kind for one side, one per round.
pub struct Row {
    pub name: String,
    pub figures: Vec<f64>,
}

impl Row {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            figures: Vec::new(),
        }
    }

    /// Returns the ratios to another row, round by round.
    pub fn ratios(&self, other: &Self) -> Vec<f64> {
        let pairs = self.figures.iter().zip(&other.figures);
        pairs.map(|(figure, other)| figure / other).collect()
    }

    /// Returns how much more than another row, round by round.
    pub fn differences(&self, other: &Self) -> Vec<f64> {
        let pairs = self.figures.iter().zip(&other.figures);
        pairs.map(|(figure, other)| figure - other).collect()
    }
}

/// Runs the sides in turn, back and forth, after a round that does not count, and returns the rows
/// of each kind of figure. If the machine changes its speed, it does so for all sides.
pub fn interleave<const N: usize>(rounds: usize, mut sides: Vec<Side<'_, N>>) -> [Vec<Row>; N] {
    let empty = |_| sides.iter().map(|side| Row::new(&side.name)).collect();
    let mut tables: [Vec<Row>; N] = std::array::from_fn(empty);
    for round in 0..=rounds {
        let mut order: Vec<_> = sides.iter_mut().enumerate().collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for (number, side) in order {
            let figures = (side.run)();
            if round > 0 {
                for (rows, figure) in tables.iter_mut().zip(figures) {
                    rows[number].figures.push(figure);
                }
            }
        }
    }
    tables
}

/// Prints the rows, each with its ratio to the first, round by round.
pub fn print<R: Borrow<Row>>(title: &str, unit: &str, rows: &[R]) {
    let rows: Vec<_> = rows.iter().map(Borrow::borrow).collect();
    println!("### {title}\n");
    println!("| | {unit} | min – max | ratio | min – max |");
    println!("| --- | ---: | ---: | ---: | ---: |");
    for row in &rows {
        let cells = [&row.figures, &row.ratios(rows[0])].map(|figures| {
            let [median, min, max] = [0.5, 0.0, 1.0].map(|part| number(quantile(figures, part)));
            format!("{median} | {min} – {max}")
        });
        println!("| {} | {} |", row.name, cells.join(" | "));
    }
    println!();
}

/// Returns the value below which this part of the figures lies.
pub fn quantile(figures: &[f64], part: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len() - 1;
    sorted[(last as f64 * part).round() as usize]
}

fn number(value: f64) -> String {
    let decimals = match value.abs() {
        0.0..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}")
}
