//! Shows on a terminal that a window runs, and how much of it is over.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

/// How often the line is renewed.
const INTERVAL: Duration = Duration::from_millis(200);
/// Characters of the bar.
const BAR: usize = 20;

/// Waits, and shows progress on stderr if that is a terminal.
pub(super) fn wait(window: Duration) {
    let mut err = std::io::stderr().lock();
    if !err.is_terminal() || window < 2 * INTERVAL {
        drop(err);
        std::thread::sleep(window);
        return;
    }
    let began = Instant::now();
    loop {
        let over = began.elapsed();
        let Some(left) = window.checked_sub(over).filter(|left| !left.is_zero()) else {
            break;
        };
        // A terminal that is gone costs no more than the line.
        drop(write!(err, "\r{}\x1b[K", line(over, window)));
        drop(err.flush());
        std::thread::sleep(left.min(INTERVAL));
    }
    drop(write!(err, "\r\x1b[K"));
}

fn line(over: Duration, window: Duration) -> String {
    let share = over.as_secs_f64() / window.as_secs_f64();
    let full = ((share * BAR as f64) as usize).min(BAR);
    format!(
        "Counting: {:.0} of {:.0} s [{}{}]",
        over.as_secs_f64(),
        window.as_secs_f64(),
        "#".repeat(full),
        ".".repeat(BAR - full)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_shows_how_much_is_over() {
        let line = |over| line(Duration::from_secs(over), Duration::from_secs(10));
        assert_eq!(line(0), "Counting: 0 of 10 s [....................]");
        assert_eq!(line(5), "Counting: 5 of 10 s [##########..........]");
        assert_eq!(line(99), "Counting: 99 of 10 s [####################]");
    }
}
