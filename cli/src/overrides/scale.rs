//! `--scale 5%`: a test with the same shape and less, or more, of everything.

use loadtest_core::scalar::Rate;
use loadtest_crds::yaml::{Content, Node};

/// A share of one as an exact fraction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Factor {
    over: u128,
    under: u128,
}

/// Reads `5%`, `0.5%`, `250%`.
///
/// # Errors
/// What it should be.
pub fn factor(text: &str) -> Result<Factor, String> {
    let wrong = || "write a percentage above 0%, such as 5% or 0.5%, up to 10000%".to_owned();
    let number = text.strip_suffix('%').ok_or_else(wrong)?;
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{decimals}");
    if whole.is_empty() || digits.len() > 12 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    let over: u128 = digits.parse().map_err(|_| wrong())?;
    let under = 100 * 10_u128.pow(decimals.len() as u32);
    if over == 0 || over > 100 * under {
        return Err(wrong());
    }
    Ok(Factor { over, under })
}

impl Factor {
    /// Rounded up, so only 0 becomes 0.
    fn of(self, count: u64) -> u64 {
        let scaled = (u128::from(count) * self.over).div_ceil(self.under);
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }

    fn of_rate(self, rate: Rate) -> String {
        let per_minute = self.of(rate.per_minute());
        if per_minute.is_multiple_of(60) {
            format!("{}/s", per_minute / 60)
        } else {
            format!("{per_minute}/m")
        }
    }
}

/// Scales the loads of all scenarios. What is no load, no number and no rate is left for the checks
/// to find.
pub fn all(test: &mut Node, factor: Factor) {
    let scenarios = member(test, "spec").and_then(|spec| member(spec, "scenarios"));
    let Some(Content::List(scenarios)) = scenarios.map(|list| &mut list.content) else {
        return;
    };
    for scenario in scenarios {
        let Some(load) = member(scenario, "load") else {
            continue;
        };
        let Content::Map(models) = &mut load.content else {
            continue;
        };
        for model in models {
            // The iterations of each user stay, or the load would be scaled twice.
            let counts: &[&str] = if model.key == "perUserIterations" {
                &["users"]
            } else {
                &["users", "startUsers", "maxUsers", "iterations"]
            };
            scale(&mut model.value, counts, factor);
        }
    }
}

fn scale(node: &mut Node, counts: &[&str], factor: Factor) {
    let Content::Map(entries) = &mut node.content else {
        return;
    };
    for entry in entries {
        let key = entry.key.as_str();
        match &mut entry.value.content {
            Content::Number(number) if counts.contains(&key) => {
                if let Some(count) = number.as_u64() {
                    *number = factor.of(count).into();
                }
            }
            Content::Text(text) if ["rate", "startRate"].contains(&key) => {
                if let Ok(rate) = text.parse::<Rate>() {
                    *text = factor.of_rate(rate);
                }
            }
            Content::List(stages) if key == "stages" => {
                for stage in stages {
                    scale(stage, counts, factor);
                }
            }
            _ => {}
        }
    }
}

fn member<'a>(node: &'a mut Node, name: &str) -> Option<&'a mut Node> {
    let Content::Map(entries) = &mut node.content else {
        return None;
    };
    let entry = entries.iter_mut().find(|entry| entry.key == name)?;
    Some(&mut entry.value)
}

#[cfg(test)]
mod tests {
    use loadtest_crds::yaml;
    use serde_json::json;

    use super::*;

    #[test]
    fn factors_are_exact_and_above_zero() {
        let of = |text, count| factor(text).map(|factor| factor.of(count));
        assert_eq!(of("5%", 200), Ok(10));
        assert_eq!(of("0.1%", 1_000), Ok(1));
        assert_eq!(of("0.1%", 1_001), Ok(2));
        assert_eq!(of("5%", 1), Ok(1));
        assert_eq!(of("5%", 0), Ok(0));
        assert_eq!(of("250%", 2), Ok(5));
        assert_eq!(of("33.333%", 300), Ok(100));
        for wrong in ["5", "0%", "-1%", "%", "1.%x", "10001%", ".5%", "1e3%"] {
            assert!(factor(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates_keep_their_fractions_as_rates_per_minute() {
        let of = |text: &str, percent| factor(percent).unwrap().of_rate(text.parse().unwrap());
        assert_eq!(of("200/s", "5%"), "10/s");
        assert_eq!(of("10/s", "5%"), "30/m");
        assert_eq!(of("1/s", "1%"), "1/m");
        assert_eq!(of("30/m", "50%"), "15/m");
        assert_eq!(of("0/s", "50%"), "0/s");
    }

    #[test]
    fn every_model_is_scaled_once() {
        let manifest = "spec: { scenarios: [
            { load: { rampingRate: { startRate: 100/s, stages: [{ duration: 1m, rate: 10/s }], maxUsers: 50 } } },
            { load: { rampingUsers: { startUsers: 10, stages: [{ duration: 1m, users: 30 }] } } },
            { load: { sharedIterations: { users: 10, iterations: 1000, maxDuration: 10m } } },
            { load: { perUserIterations: { users: 10, iterations: 1000 } } } ] }";
        let mut test = yaml::parse(manifest).unwrap().remove(0);
        all(&mut test, factor("10%").unwrap());
        let value = test.to_json();
        let load = |index: usize| value["spec"]["scenarios"][index]["load"].clone();
        assert_eq!(
            load(0),
            json!({"rampingRate": {"startRate": "10/s", "stages": [{"duration": "1m", "rate": "1/s"}], "maxUsers": 5}})
        );
        assert_eq!(
            load(1),
            json!({"rampingUsers": {"startUsers": 1, "stages": [{"duration": "1m", "users": 3}]}})
        );
        assert_eq!(
            load(2),
            json!({"sharedIterations": {"users": 1, "iterations": 100, "maxDuration": "10m"}})
        );
        assert_eq!(
            load(3),
            json!({"perUserIterations": {"users": 1, "iterations": 1000}})
        );
    }
}
