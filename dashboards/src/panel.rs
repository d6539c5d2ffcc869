//! What a panel is, in words that Kibana and Grafana both have.

/// One dashboard.
#[derive(Debug, Clone)]
pub struct Dashboard {
    /// Of the file and of the object in Kibana and Grafana; never changes.
    pub id: &'static str,
    /// As people see it.
    pub title: &'static str,
    /// One sentence.
    pub about: &'static str,
    /// What people can choose at the top.
    pub controls: Vec<Control>,
    /// From top to bottom.
    pub rows: Vec<Row>,
}

/// Something to choose at the top of a dashboard.
#[derive(Debug, Clone, Copy)]
pub struct Control {
    /// Name of Grafana's variable.
    pub name: &'static str,
    /// As people see it.
    pub title: &'static str,
    /// The field that is filtered by.
    pub field: &'static str,
    /// Where its values are looked up.
    pub documents: Documents,
    /// How it is chosen.
    pub choice: Choice,
}

/// How a control is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// One, several or all of the values that are there.
    List,
    /// A value that is typed in, because there are too many to list; Kibana lists and searches them.
    Text,
    /// Numbers from the one that is typed in; in Grafana only, where documents cannot be sorted.
    AtLeast,
}

/// Panels side by side.
#[derive(Debug, Clone)]
pub struct Row {
    /// Of all of them.
    pub height: Height,
    /// From left to right; their widths are 12 together.
    pub panels: Vec<Panel>,
}

/// Height of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Height {
    /// For single numbers.
    Low,
    /// For tables of a few rows.
    Middle,
    /// For charts and long tables.
    Tall,
}

/// One question and its answer.
#[derive(Debug, Clone)]
pub struct Panel {
    /// Unique within the dashboard.
    pub title: &'static str,
    /// What to know to read it.
    pub about: &'static str,
    /// What is asked.
    pub documents: Documents,
    /// Which of these, as a Lucene query; empty for all.
    pub filter: &'static str,
    /// Groups, from the outside to the inside.
    pub by: Vec<Terms>,
    /// What is shown of each group; of all without groups.
    pub metrics: Vec<Metric>,
    /// How it is drawn.
    pub shape: Shape,
    /// In twelfths of the dashboard.
    pub width: u32,
}

/// Kinds of documents; docs/results.md says what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Documents {
    /// One for each request.
    Requests,
    /// One for each interval and runner.
    Totals,
    /// One for each interval, runner and request name.
    Names,
    /// One for each interval, runner and group.
    Groups,
    /// One for each failed exchange that was kept.
    Samples,
    /// One for each finished run.
    Ends,
}

/// A group for each value of a field.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// The field.
    pub field: &'static str,
    /// As people see it.
    pub label: &'static str,
    /// At most so many.
    pub size: u32,
}

/// A number of each group.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// As people see it.
    pub label: &'static str,
    /// How it is computed.
    pub value: Value,
    /// What it is.
    pub unit: Unit,
}

/// How a number is computed from the documents of a group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// How many there are.
    Count,
    /// The sum of a field.
    Sum(&'static str),
    /// The mean of a field.
    Average(&'static str),
    /// The largest of a field.
    Max(&'static str),
    /// The smallest of a field.
    Min(&'static str),
    /// A percentile of a field.
    Percentile(&'static str, u32),
    /// The sum of a field of [`Documents::Totals`] for each second of all runners together.
    PerSecond(&'static str),
    /// The sum of one field in that of another.
    Ratio(&'static str, &'static str),
}

/// What a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A plain number.
    Number,
    /// Microseconds.
    Micros,
    /// A share of 1.
    Share,
    /// A moment.
    Moment,
}

/// How a panel is drawn.
#[derive(Debug, Clone)]
pub enum Shape {
    /// One number.
    Number,
    /// Lines over time.
    Lines,
    /// Areas over time, one upon the other.
    Areas,
    /// A bar for each group.
    Bars,
    /// A line of text for each group.
    Table,
    /// Documents as they are.
    List(List),
}

/// Documents as they are.
#[derive(Debug, Clone)]
pub struct List {
    /// Fields to show, with what people see.
    pub columns: Vec<(&'static str, &'static str)>,
    /// The field they are sorted by.
    pub sort: &'static str,
    /// Whether the largest come first.
    pub descending: bool,
}

impl Documents {
    /// The query that only these answer to.
    pub fn query(self) -> &'static str {
        match self {
            Self::Requests => "loadtest.doc:request",
            Self::Totals => "loadtest.doc:interval AND loadtest.scope:total",
            Self::Names => "loadtest.doc:interval AND loadtest.scope:name",
            Self::Groups => "loadtest.doc:interval AND loadtest.scope:group",
            Self::Samples => "loadtest.doc:sample",
            Self::Ends => "loadtest.doc:run AND event.action:end",
        }
    }

    /// Name of their streams between `loadtest-` and the namespace.
    pub fn stream(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Totals | Self::Names | Self::Groups | Self::Samples => "metrics",
            Self::Ends => "runs",
        }
    }
}

impl Terms {
    /// Whether the field's values are numbers.
    pub fn is_number(self) -> bool {
        matches!(
            self.field,
            "loadtest.runner.index" | "http.response.status_code"
        )
    }
}

impl Value {
    /// Fields that it is computed from.
    pub fn fields(self) -> Vec<&'static str> {
        match self {
            Self::Count => Vec::new(),
            Self::Sum(field)
            | Self::Average(field)
            | Self::Max(field)
            | Self::Min(field)
            | Self::Percentile(field, _)
            | Self::PerSecond(field) => vec![field],
            Self::Ratio(part, whole) => vec![part, whole],
        }
    }

    /// Whether both tools can sort groups by it.
    fn sorts(self) -> bool {
        !matches!(
            self,
            Self::Percentile(..) | Self::PerSecond(_) | Self::Ratio(..)
        )
    }
}

impl Panel {
    /// A panel of full width, without groups, metrics and filter.
    pub fn new(title: &'static str, shape: Shape, documents: Documents) -> Self {
        Self {
            title,
            about: "",
            documents,
            filter: "",
            by: Vec::new(),
            metrics: Vec::new(),
            shape,
            width: 12,
        }
    }

    /// With something to know.
    #[must_use]
    pub fn about(mut self, about: &'static str) -> Self {
        self.about = about;
        self
    }

    /// Of documents that answer to a Lucene query too.
    #[must_use]
    pub fn only(mut self, filter: &'static str) -> Self {
        self.filter = filter;
        self
    }

    /// Grouped by at most `size` values of a field.
    #[must_use]
    pub fn by(mut self, label: &'static str, field: &'static str, size: u32) -> Self {
        self.by.push(Terms { field, label, size });
        self
    }

    /// With a metric.
    #[must_use]
    pub fn show(mut self, label: &'static str, value: Value, unit: Unit) -> Self {
        self.metrics.push(Metric { label, value, unit });
        self
    }

    /// So many twelfths wide.
    #[must_use]
    pub fn width(mut self, width: u32) -> Self {
        self.width = width;
        self
    }

    /// The whole query without controls.
    pub fn query(&self) -> String {
        match self.filter {
            "" => self.documents.query().to_owned(),
            filter => format!("{} AND {filter}", self.documents.query()),
        }
    }

    /// The number of the metric that groups are sorted by, the largest first; by their names without.
    pub fn sorted_by(&self) -> Option<usize> {
        let over_time = matches!(self.shape, Shape::Lines | Shape::Areas);
        let first = self.metrics.first();
        (!over_time && first.is_some_and(|metric| metric.value.sorts())).then_some(0)
    }

    /// Every field it names outside of its query.
    pub fn fields(&self) -> Vec<&'static str> {
        let mut fields: Vec<_> = self.by.iter().map(|terms| terms.field).collect();
        fields.extend(self.metrics.iter().flat_map(|m| m.value.fields()));
        if let Shape::List(list) = &self.shape {
            fields.extend(list.columns.iter().map(|(field, _)| *field));
            fields.push(list.sort);
        }
        fields
    }
}

impl Height {
    /// In rows of Kibana's grid, and of Grafana's.
    pub fn rows(self) -> (u32, u32) {
        match self {
            Self::Low => (6, 4),
            Self::Middle => (9, 6),
            Self::Tall => (14, 9),
        }
    }
}

/// A place in a grid.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Columns from the left.
    pub x: u32,
    /// Rows from the top.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Dashboard {
    /// The panels with their places in a grid of `columns` columns; `rows` says how many rows a height has.
    pub fn placed(&self, columns: u32, rows: impl Fn(Height) -> u32) -> Vec<(&Panel, Place)> {
        let mut placed = Vec::new();
        let mut y = 0;
        for row in &self.rows {
            let height = rows(row.height);
            let mut x = 0;
            for panel in &row.panels {
                let width = panel.width * columns / 12;
                placed.push((
                    panel,
                    Place {
                        x,
                        y,
                        width,
                        height,
                    },
                ));
                x += width;
            }
            y += height;
        }
        placed
    }
}
