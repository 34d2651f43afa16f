//! The table on a terminal, which is written over the one before.

use anyhow::{Context, Result};
use console::{Style, Term, truncate_str};

use super::{row::Row, table};
use crate::lines::counted;

/// The lines besides devices: what is going on, the titles, and the last one, which stays empty.
const OTHERS: usize = 3;

/// A terminal without a cursor, until it is dropped.
pub(super) struct Screen {
    term: Term,
    is_clear: bool,
}

impl Screen {
    pub(super) fn start() -> Self {
        let term = Term::buffered_stdout();
        Self {
            term,
            is_clear: false,
        }
    }

    /// Shows devices, and what is going on.
    pub(super) fn show(&mut self, rows: &[Row], news: &str) -> Result<()> {
        self.write(rows, news)
            .context("cannot write to the terminal")
    }

    fn write(&mut self, rows: &[Row], news: &str) -> std::io::Result<()> {
        let (height, width) = self.term.size();
        let (height, width) = (usize::from(height), usize::from(width));
        if !self.is_clear {
            self.is_clear = true;
            self.term.hide_cursor()?;
            self.term.clear_screen()?;
        }
        self.term.move_cursor_to(0, 0)?;
        for line in lines(rows, news, height, width) {
            self.term.clear_line()?;
            self.term.write_line(&line)?;
        }
        self.term.clear_to_end_of_screen()?;
        self.term.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // There is nobody to tell if it fails.
        let _ = self.term.show_cursor();
        let _ = self.term.flush();
    }
}

/// Returns what fits on a terminal.
fn lines(rows: &[Row], news: &str, height: usize, width: usize) -> Vec<String> {
    let has_colours = console::colors_enabled();
    let room = height.saturating_sub(OTHERS).max(1);
    let silent = rows.iter().filter(|row| row.is_silent).count();
    let shown = &rows[..rows.len().min(room)];
    let mut head = format!("{news}; {}", counted(rows.len() as u64, "device"));
    if silent > 0 {
        head += &format!(", {silent} silent");
    }
    if shown.len() < rows.len() {
        head += &format!(", the first {} are shown", shown.len());
    }
    let head = truncate_str(&head, width, "…").into_owned();
    let head = match has_colours {
        true => Style::new().dim().apply_to(head).to_string(),
        false => head,
    };
    let mut lines = vec![head];
    lines.extend(table::lines(shown, width, has_colours));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_left_out_and_said() {
        let rows: Vec<_> = (0..100)
            .map(|number| Row {
                dev_id: format!("bed-{number}"),
                is_silent: number == 99,
                ..Row::default()
            })
            .collect();
        let lines = lines(&rows, "connected", 24, 80);
        assert_eq!(lines.len(), 23);
        let head = console::strip_ansi_codes(&lines[0]).into_owned();
        assert_eq!(
            head,
            "connected; 100 devices, 1 silent, the first 21 are shown"
        );
    }
}
