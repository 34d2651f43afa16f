//! Our client and its rivals, on the same servers: one with TLS, and one without.

use super::{Program, Way};
use crate::common::{
    Certificates,
    figures::{Reach, left_out, note},
    report::{Row, print},
    source::Source,
    tls,
};

/// A client to measure ours against, or the reason why it cannot be measured.
pub struct Rival {
    pub name: &'static str,
    pub program: Result<Program, String>,
}

impl Rival {
    /// Finds the program that a variable names.
    pub fn find(name: &'static str, variable: &str) -> Self {
        Self {
            name,
            program: Program::find(name, variable),
        }
    }

    /// Gives the reason of a variable, if it is set, where there is no program.
    pub fn or_why(self, variable: &str) -> Self {
        let why = |why| std::env::var(variable).unwrap_or(why);
        Self {
            program: self.program.map_err(why),
            ..self
        }
    }
}

/// What is measured for each side.
pub struct Figure {
    pub what: &'static str,
    pub unit: &'static str,
    /// Compares a row of ours with that of a rival, round by round.
    pub compare: fn(&Row, &Row) -> Vec<f64>,
    /// The marks over TLS against the first rivals. The further ones have no row in the table on top
    /// of the results.
    pub tls: &'static [Reach],
    pub plain: &'static [Reach],
}

pub struct Stage {
    /// Where the rows stand in the table on top of the results.
    order: u32,
    rivals: Vec<Rival>,
    ours: Program,
    pub ways: [Way; 2],
    /// The servers of each way.
    sources: [Source; 2],
}

impl Stage {
    pub fn start(
        order: u32,
        rivals: impl Into<Vec<Rival>>,
        ours: Program,
        certificates: &Certificates,
    ) -> Self {
        let sources = [
            Source::start_tls(tls::server_config(&certificates.server)),
            Source::start(0),
        ];
        let [tls, plain] = sources.each_ref().map(|source| source.address().port());
        let authority = certificates.authority.certificate_file();
        Self {
            order,
            rivals: rivals.into(),
            ours,
            ways: [
                Way::tls("over TLS", tls, authority),
                Way::plain("without TLS", plain),
            ],
            sources,
        }
    }

    /// Prints which rivals cannot be measured.
    pub fn print_lacking(&self) {
        for rival in &self.rivals {
            if let Err(why) = &rival.program {
                println!("The rows of \"{}\" are left out: {why}\n", rival.name);
            }
        }
    }

    /// The programs, in the order of their rows. Ours is the last.
    pub fn programs(&self) -> impl Iterator<Item = &Program> {
        let rivals = self
            .rivals
            .iter()
            .filter_map(|rival| rival.program.as_ref().ok());
        rivals.chain([&self.ours])
    }

    /// The sides, in the order of their rows.
    pub fn sides(&self) -> impl Iterator<Item = (&Program, &Way, &Source)> {
        let ways = self.ways.iter().zip(&self.sources);
        ways.flat_map(|(way, source)| self.programs().map(move |program| (program, way, source)))
    }

    /// Prints a table for each way, and notes its rows in the table on top of the results.
    pub fn print<'a>(
        &self,
        figure: &Figure,
        ways: impl IntoIterator<Item = &'a Way>,
        rows: &[Row],
    ) {
        for (way, rows) in ways.into_iter().zip(rows.chunks(self.programs().count())) {
            let what = format!("{}, {}", figure.what, way.name);
            print(&what, figure.unit, rows);
            let (ours, mut rows) = match rows {
                [rows @ .., ours] => (ours, rows.iter()),
                [] => unreachable!("ours is there"),
            };
            for (rival, reach) in self.rivals.iter().zip(figure.marks(way)) {
                match &rival.program {
                    Err(why) => left_out(self.order, &what, rival.name, *reach, why),
                    Ok(_) => {
                        let row = rows.next().expect("each program has a row");
                        let compared = (figure.compare)(ours, row);
                        note(self.order, &what, rival.name, *reach, &compared);
                    }
                }
            }
        }
    }

    /// Notes in the table on top of the results why a figure is not measured on a way.
    pub fn leave_out(&self, figure: &Figure, way: &str, why: &str) {
        for (rival, reach) in self.rivals.iter().zip(figure.tls) {
            let what = format!("{}, {way}", figure.what);
            left_out(self.order, &what, rival.name, *reach, why);
        }
    }
}

impl Figure {
    fn marks(&self, way: &Way) -> &'static [Reach] {
        match way.is_tls() {
            true => self.tls,
            false => self.plain,
        }
    }
}
