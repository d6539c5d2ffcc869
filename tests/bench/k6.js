// The job of product.yaml for k6.
import http from "k6/http";
import { check } from "k6";

const target = __ENV.TARGET;
const weighted = ["browse", "browse", "browse", "browse", "browse", "browse", "look", "look", "look", "search"];

export default function () {
  const name = weighted[Math.floor(Math.random() * weighted.length)];
  const url = {
    browse: `${target}/json?page=${__ITER}`,
    look: `${target}/json?user=${__VU}&item=${__ITER}`,
    search: `${target}/json?query=spade&user=${__VU}`,
  }[name];
  const answer = http.get(url, { tags: { name } });
  check(answer, {
    "status is 200": (a) => a.status === 200,
    "has the text": (a) => a.body.includes("Garden tools"),
  });
}
