//! The job of product.yaml for Goose.

use goose::prelude::*;

async fn browse(user: &mut GooseUser) -> TransactionResult {
    let path = format!("/json?page={}", user.get_iterations());
    get(user, &path, "browse").await
}

async fn look(user: &mut GooseUser) -> TransactionResult {
    let (number, item) = (user.weighted_users_index, user.get_iterations());
    get(user, &format!("/json?user={number}&item={item}"), "look").await
}

async fn search(user: &mut GooseUser) -> TransactionResult {
    let number = user.weighted_users_index;
    get(user, &format!("/json?query=spade&user={number}"), "search").await
}

async fn get(user: &mut GooseUser, path: &str, name: &str) -> TransactionResult {
    let mut goose = user.get_named(path, name).await?;
    let answer = match goose.response {
        Ok(answer) => answer,
        Err(error) => {
            return user.set_failure(&error.to_string(), &mut goose.request, None, None);
        }
    };
    if answer.status() != 200 {
        return user.set_failure("status is not 200", &mut goose.request, None, None);
    }
    match answer.text().await {
        Ok(text) if text.contains("Garden tools") => Ok(()),
        _ => user.set_failure("the text is missing", &mut goose.request, None, None),
    }
}

#[tokio::main]
async fn main() -> Result<(), GooseError> {
    let scenario = scenario!("main")
        .register_transaction(transaction!(browse).set_weight(6)?)
        .register_transaction(transaction!(look).set_weight(3)?)
        .register_transaction(transaction!(search).set_weight(1)?);
    GooseAttack::initialize()?
        .register_scenario(scenario)
        .execute()
        .await?;
    Ok(())
}
