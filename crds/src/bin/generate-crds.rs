fn main() { println!("{}", serde_json::to_string_pretty(&loadtest_crds::crd::load_test()).unwrap()); println!("{}", serde_json::to_string_pretty(&loadtest_crds::crd::load_test_run()).unwrap()); }
