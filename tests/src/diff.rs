//! The difference of two texts, line by line, for messages.

/// Returns the lines that are only in `before` (`- `) or only in `after` (`+ `), each group under
/// the last heading (`== ...`) above it. The result is empty if the texts are equal.
pub fn diff(before: &str, after: &str) -> String {
    let a: Vec<&str> = before.lines().collect();
    let b: Vec<&str> = after.lines().collect();
    let head = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let (rest_a, rest_b) = (&a[head..], &b[head..]);
    let tail = rest_a
        .iter()
        .rev()
        .zip(rest_b.iter().rev())
        .take_while(|(x, y)| x == y)
        .count();
    let (mid_a, mid_b) = (
        &rest_a[..rest_a.len() - tail],
        &rest_b[..rest_b.len() - tail],
    );

    let mut writer = Writer {
        heading: a[..head].iter().rev().find(|l| is_heading(l)).copied(),
        text: String::new(),
    };
    let common = common_lengths(mid_a, mid_b);
    let (mut i, mut j) = (0, 0);
    while i < mid_a.len() || j < mid_b.len() {
        if i < mid_a.len() && j < mid_b.len() && mid_a[i] == mid_b[j] {
            writer.same(mid_a[i]);
            (i, j) = (i + 1, j + 1);
        } else if j == mid_b.len() || (i < mid_a.len() && common[i + 1][j] >= common[i][j + 1]) {
            writer.changed("- ", mid_a[i]);
            i += 1;
        } else {
            writer.changed("+ ", mid_b[j]);
            j += 1;
        }
    }
    writer.text
}

fn is_heading(line: &str) -> bool {
    line.starts_with("== ")
}

struct Writer<'a> {
    heading: Option<&'a str>,
    text: String,
}

impl<'a> Writer<'a> {
    fn same(&mut self, line: &'a str) {
        if is_heading(line) {
            self.heading = Some(line);
        }
    }

    fn changed(&mut self, sign: &str, line: &str) {
        if let Some(heading) = self.heading.take() {
            self.text += heading;
            self.text.push('\n');
        }
        self.text += sign;
        self.text += line;
        self.text.push('\n');
    }
}

/// Returns at `[i][j]` the length of the longest common subsequence of `a[i..]` and `b[j..]`.
fn common_lengths(a: &[&str], b: &[&str]) -> Vec<Vec<u32>> {
    let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            table[i][j] = if a[i] == b[j] {
                table[i + 1][j + 1] + 1
            } else {
                table[i + 1][j].max(table[i][j + 1])
            };
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::diff;

    #[test]
    fn equal_texts_have_no_difference() {
        assert_eq!(diff("a\nb\n", "a\nb\n"), "");
    }

    #[test]
    fn changes_stand_under_their_heading() {
        let before = "== rules\n0: local\n100: x\n== routes\ndefault\n== links\neth0\n";
        let after = "== rules\n0: local\n== routes\ndefault\n== links\neth0 group 5\n";
        assert_eq!(
            diff(before, after),
            "== rules\n- 100: x\n== links\n- eth0\n+ eth0 group 5\n"
        );
    }

    #[test]
    fn one_side_may_be_empty() {
        assert_eq!(diff("", "a\nb"), "+ a\n+ b\n");
        assert_eq!(diff("a", ""), "- a\n");
    }
}
