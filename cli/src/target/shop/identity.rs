//! Who asks: tokens, sessions, signatures. Nothing is remembered: what is given out can be checked
//! by itself.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use hyper::{Response, StatusCode, header::AUTHORIZATION};
use loadtest_core::identity::hex;
use ring::hmac;
use serde_json::{Value, json};

use super::{
    super::{
        body::AnswerBody,
        routes::{as_json, problem, with_type},
    },
    Asked, put_cookie, redirect,
};

/// Not secret: it is in the index, so that scenarios can be written.
const KEY: &[u8] = b"shop-key";
const PASSWORD: &str = "open sesame";
const CLIENT: (&str, &str) = ("shop", "shop-secret");
/// How long a token is good unless `?ttl` says otherwise, in seconds.
const TTL: u64 = 3_600;

/// `POST login`.
pub(super) fn login(asked: &Asked<'_>) -> Response<AnswerBody> {
    let given = asked.json().unwrap_or_default();
    let text = |name: &str| given.get(name).and_then(Value::as_str);
    match (text("user"), text("password")) {
        (Some(user), Some(PASSWORD)) => as_json(
            StatusCode::OK,
            &json!({ "token": sealed(user), "expiresIn": TTL }),
        ),
        _ => problem(StatusCode::UNAUTHORIZED, "wrong user or password"),
    }
}

/// `GET me`: by a token of `login`, of `oauth/token`, or a JWT.
pub(super) fn me(asked: &Asked<'_>) -> Response<AnswerBody> {
    let given = asked
        .header(AUTHORIZATION.as_str())
        .and_then(|value| value.strip_prefix("Bearer "));
    match given.and_then(|token| opened(token).or_else(|| jwt(token))) {
        Some(user) => as_json(StatusCode::OK, &json!({ "user": user })),
        None => problem(
            StatusCode::UNAUTHORIZED,
            "no token, or one that is not good any more",
        ),
    }
}

/// `GET login-form`: a session, and the field that belongs to it.
pub(super) fn login_form(number: u64) -> Response<AnswerBody> {
    let session = sealed(&format!("guest-{number}"));
    let csrf = signature(session.as_bytes());
    let page = format!(
        "<form method=post><input name=user><input name=password type=password>\
         <input type=hidden name=csrf value=\"{csrf}\"></form>\n"
    );
    let mut response = with_type("text/html; charset=utf-8", AnswerBody::whole(page));
    put_cookie(&mut response, &session);
    response
}

/// `POST login-form`.
pub(super) fn submit_login_form(asked: &Asked<'_>) -> Response<AnswerBody> {
    let session = asked.cookie("session").unwrap_or_default();
    let belongs = asked
        .form("csrf")
        .is_some_and(|csrf| csrf == signature(session.as_bytes()));
    if !belongs {
        return problem(
            StatusCode::FORBIDDEN,
            "the csrf field does not belong to this session",
        );
    }
    match (asked.form("user"), asked.form("password").as_deref()) {
        (Some(user), Some(PASSWORD)) => {
            let mut response = redirect("/shop/account");
            put_cookie(&mut response, &sealed(&user));
            response
        }
        _ => problem(StatusCode::UNAUTHORIZED, "wrong user or password"),
    }
}

/// `GET account`: whoever has not logged in is sent to the form.
pub(super) fn account(asked: &Asked<'_>) -> Response<AnswerBody> {
    match asked.cookie("session").and_then(opened) {
        Some(user) if !user.starts_with("guest-") => with_type(
            "text/html; charset=utf-8",
            AnswerBody::whole(format!("<h1>Welcome, {user}</h1>\n")),
        ),
        _ => redirect("/shop/login-form"),
    }
}

/// `POST oauth/token` (RFC 6749, 4.4), the client by Basic or in the form.
pub(super) fn token(asked: &Asked<'_>) -> Response<AnswerBody> {
    let basic = asked
        .header(AUTHORIZATION.as_str())
        .and_then(|value| BASE64_STANDARD.decode(value.strip_prefix("Basic ")?).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| {
            text.split_once(':')
                .map(|(id, secret)| (id.to_owned(), secret.to_owned()))
        });
    let client = basic.or_else(|| Some((asked.form("client_id")?, asked.form("client_secret")?)));
    let right = client.is_some_and(|(id, secret)| (id.as_str(), secret.as_str()) == CLIENT);
    if asked.form("grant_type").as_deref() != Some("client_credentials") || !right {
        return as_json(
            StatusCode::UNAUTHORIZED,
            &json!({ "error": "invalid_client" }),
        );
    }
    let ttl = asked
        .query("ttl")
        .and_then(|ttl| ttl.parse().ok())
        .unwrap_or(TTL)
        .min(TTL);
    let token = sealed_for(CLIENT.0, ttl);
    as_json(
        StatusCode::OK,
        &json!({ "access_token": token, "token_type": "Bearer", "expires_in": ttl }),
    )
}

/// `POST signed`.
pub(super) fn signed(asked: &Asked<'_>) -> Response<AnswerBody> {
    if asked.header("x-signature") == Some(signature(asked.body).as_str()) {
        as_json(
            StatusCode::OK,
            &json!({ "signed": true, "bytes": asked.body.len() }),
        )
    } else {
        problem(
            StatusCode::UNAUTHORIZED,
            "x-signature is not the HMAC-SHA256 of the body, in hex",
        )
    }
}

fn sealed(user: &str) -> String {
    sealed_for(user, TTL)
}

/// `user.expiry.signature`; the user in base64, so that it may have dots.
fn sealed_for(user: &str, ttl: u64) -> String {
    let text = format!("{}.{}", BASE64_URL_SAFE_NO_PAD.encode(user), now() + ttl);
    format!("{text}.{}", signature(text.as_bytes()))
}

fn opened(token: &str) -> Option<String> {
    let (text, seal) = token.rsplit_once('.')?;
    let (user, expiry) = text.split_once('.')?;
    let good = seal == signature(text.as_bytes()) && expiry.parse::<u64>().ok()? > now();
    let user = good.then(|| BASE64_URL_SAFE_NO_PAD.decode(user).ok())??;
    String::from_utf8(user).ok()
}

/// The subject of a JWT that is signed with HS256 by the shop's key and has not expired.
fn jwt(token: &str) -> Option<String> {
    let (text, seal) = token.rsplit_once('.')?;
    let seal = BASE64_URL_SAFE_NO_PAD.decode(seal).ok()?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, KEY);
    hmac::verify(&key, text.as_bytes(), &seal).ok()?;
    let claims = BASE64_URL_SAFE_NO_PAD
        .decode(text.split_once('.')?.1)
        .ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    let expired = claims
        .get("exp")
        .and_then(Value::as_u64)
        .is_some_and(|exp| exp <= now());
    (!expired).then(|| claims.get("sub")?.as_str().map(str::to_owned))?
}

fn signature(bytes: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, KEY);
    let tag = hmac::sign(&key, bytes);
    hex(tag.as_ref())
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
