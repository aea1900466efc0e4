//! Plots, as SVG on a white ground, so that they can be read on a dark page too.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::chart::{ChartBuilder, SeriesLabelPosition};
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, DrawingAreaErrorKind, IntoDrawingArea};
use plotters::element::{Circle, PathElement};
use plotters::prelude::{BindKeyPoints, DrawingBackend, IntoLogRange, SVGBackend};
use plotters::series::LineSeries;
use plotters::style::{BLACK, Color, RGBColor, WHITE};

use crate::report::grouped;

const SIZE: (u32, u32) = (760, 560);
/// Colours that are distinct without red and green.
const COLOURS: [RGBColor; 4] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
];

/// One line of a chart.
pub(crate) struct Line {
    pub(crate) name: String,
    /// Across, which is logarithmic, and up.
    pub(crate) points: Vec<(f64, f64)>,
}

/// Draws charts above each other, each with the name of what goes up; all have the same across.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn draw(path: &Path, across: &str, charts: &[(&str, Vec<Line>)]) -> Result<()> {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(|error| anyhow!("{error}"))?;
    for (area, (up, lines)) in area.split_evenly((charts.len(), 1)).iter().zip(charts) {
        chart(area, across, up, lines).map_err(|error| anyhow!("{}: {error}", path.display()))?;
    }
    area.present()
        .map_err(|error| anyhow!("{}: {error}", path.display()))
}

fn chart<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    across: &str,
    up: &str,
    lines: &[Line],
) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let least = points().map(|point| point.0).fold(f64::INFINITY, f64::min);
    let most = points().map(|point| point.0).fold(0.0, f64::max);
    let mut steps: Vec<_> = points().map(|point| point.0).collect();
    steps.sort_by(f64::total_cmp);
    steps.dedup();
    let highest = points().map(|point| point.1).fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .margin_right(40)
        .x_label_area_size(36)
        .y_label_area_size(72)
        .build_cartesian_2d(
            (least * 0.9..most * 1.1).log_scale().with_key_points(steps),
            // With room for the names of the lines.
            0.0..highest * (1.0 + 0.17 * lines.len() as f64),
        )?;
    chart
        .configure_mesh()
        .x_desc(across)
        .y_desc(up)
        .x_label_formatter(&|value| grouped(*value))
        .y_label_formatter(&|value| grouped(*value))
        .light_line_style(WHITE)
        .draw()?;
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        chart
            .draw_series(LineSeries::new(
                line.points.iter().copied(),
                colour.stroke_width(2),
            ))?
            .label(line.name.as_str())
            .legend(|(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
        chart.draw_series(
            line.points
                .iter()
                .map(|point| Circle::new(*point, 3, colour.filled())),
        )?;
    }
    if lines.len() > 1 {
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE)
            .border_style(BLACK)
            .draw()?;
    }
    Ok(())
}
