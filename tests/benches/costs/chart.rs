//! Draws measurements at several points as curves, in SVG.

use std::collections::BTreeMap;

use plotters::prelude::*;

use crate::report::Section;

const COLOURS: [RGBColor; 5] = [
    RGBColor(0xd6, 0x27, 0x28),
    RGBColor(0x1f, 0x77, 0xb4),
    RGBColor(0x17, 0xbe, 0xcf),
    RGBColor(0x2c, 0xa0, 0x2c),
    RGBColor(0x94, 0x67, 0xbd),
];

/// Returns the curves of a benchmark; `None` if it has none.
pub fn svg(section: &Section) -> Option<String> {
    let mut curves: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for (curve, point) in section
        .findings
        .iter()
        .filter_map(|finding| finding.point())
    {
        curves.entry(curve).or_default().push(point);
    }
    let points = || curves.values().flatten();
    let last = points().map(|(x, _)| *x).reduce(f64::max)?;
    let top = points().map(|(_, y)| *y).reduce(f64::max)?;
    let mut svg = String::new();
    draw(&curves, last, top, section.about, &mut svg)
        .unwrap_or_else(|e| panic!("no chart of {}: {e}", section.name));
    Some(svg)
}

fn draw(
    curves: &BTreeMap<&str, Vec<(f64, f64)>>,
    last: f64,
    top: f64,
    title: &str,
    svg: &mut String,
) -> Result<(), Box<dyn std::error::Error>> {
    let area = SVGBackend::with_string(svg, (900, 480)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 16))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(76)
        .build_cartesian_2d((1f64..last).log_scale(), 0f64..top * 1.1)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_label_formatter(&|x| format!("{x:.0}"))
        .y_label_formatter(&|y| format!("{y:.0}"))
        .x_desc("N")
        .draw()?;
    for ((name, points), colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        chart
            .draw_series(LineSeries::new(
                points.iter().copied(),
                colour.stroke_width(2),
            ))?
            .label(*name)
            .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        let dots = points.iter();
        chart.draw_series(dots.map(|point| Circle::new(*point, 3, colour.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerLeft)
        .background_style(WHITE.mix(0.8))
        .draw()?;
    area.present()?;
    drop(chart);
    Ok(())
}
