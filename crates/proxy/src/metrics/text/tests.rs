use proptest::prelude::*;

use super::*;

const TABLE: &[Metric<(&'static str, u64)>] = &[
    counter("t_done_total", &["who"], "Done", |row, s| {
        s.add(&[row.0], row.1);
    }),
    gauge("t_left_seconds", &[], "Left", |row, s| {
        s.add(&[], seconds(row.1));
    }),
];

fn page(format: Format) -> String {
    let mut page = Page::new(format);
    page.write(TABLE, &[("a", 1_500_000)]);
    page.finish()
}

#[test]
fn a_page_is_in_the_format_that_was_asked_for() {
    assert_eq!(
        page(Format::Prometheus),
        "# HELP t_done_total Done\n# TYPE t_done_total counter\nt_done_total{who=\"a\"} 1500000\n\
         # HELP t_left_seconds Left\n# TYPE t_left_seconds gauge\nt_left_seconds 1.5\n"
    );
    assert_eq!(
        page(Format::OpenMetrics),
        "# HELP t_done Done\n# TYPE t_done counter\nt_done_total{who=\"a\"} 1500000\n\
         # HELP t_left_seconds Left\n# TYPE t_left_seconds gauge\nt_left_seconds 1.5\n# EOF\n"
    );
}

#[test]
fn open_metrics_is_for_those_who_would_rather_have_it() {
    let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                      application/openmetrics-text;version=0.0.1;q=0.5,\
                      text/plain;version=1.0.0;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    for accept in [
        prometheus,
        OPEN_METRICS,
        "Application/OpenMetrics-Text; q=0.1",
    ] {
        assert_eq!(
            Format::asked_for_by(accept),
            Format::OpenMetrics,
            "{accept}"
        );
    }
    let neither = "text/plain;q=0.9, application/openmetrics-text;q=0.8";
    let refused = "application/openmetrics-text;q=0";
    let broken = "application/openmetrics-text;q=high";
    for accept in ["", "*/*", "text/html", neither, refused, broken, ";;,,q="] {
        assert_eq!(Format::asked_for_by(accept), Format::Prometheus, "{accept}");
    }
}

#[test]
fn a_histogram_counts_up_to_all() {
    let mut out = String::new();
    let mut samples = Samples {
        out: &mut out,
        name: "t_seconds",
        labels: &["db"],
    };
    let mut histogram = Histogram::default();
    histogram.0[0] = 2;
    histogram.0[11] = 1;
    samples.add_histogram(&["x"], &histogram, 70_000_100);
    let lines: Vec<_> = out.lines().collect();
    assert_eq!(lines[0], "t_seconds_bucket{db=\"x\",le=\"0.000064\"} 2");
    assert_eq!(lines[10], "t_seconds_bucket{db=\"x\",le=\"67.108864\"} 2");
    assert_eq!(
        lines[11..],
        [
            "t_seconds_bucket{db=\"x\",le=\"+Inf\"} 3",
            "t_seconds_sum{db=\"x\"} 70.0001",
            "t_seconds_count{db=\"x\"} 3",
        ]
    );
}

#[test]
fn names_that_are_too_long_are_cut_and_stay_different() {
    let long = |end: &str| {
        let mut out = String::new();
        push_label(&mut out, &format!("{}{end}", "é".repeat(5000)));
        out
    };
    assert_ne!(long("a"), long("b"));
    assert!(long("a").len() <= LONGEST_LABEL + 17);
}

/// As a scraper reads a label.
fn unescaped(label: &str) -> String {
    let mut text = String::new();
    let mut letters = label.chars();
    while let Some(c) = letters.next() {
        text.push(match c {
            '\\' => match letters.next() {
                Some('n') => '\n',
                Some(c @ ('\\' | '"')) => c,
                other => panic!("{other:?} escaped in {label:?}"),
            },
            '"' | '\n' => panic!("{c:?} in {label:?}"),
            c => c,
        });
    }
    text
}

proptest! {
    #[test]
    fn whatever_a_name_is_a_scraper_reads_it_as_it_is(name in "[\\\\\"\n{},=a-zé\u{0}]{0,60}") {
        let mut out = String::new();
        push_label(&mut out, &name);
        prop_assert_eq!(unescaped(&out), name);
    }
}
