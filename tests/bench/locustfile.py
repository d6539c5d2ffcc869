# The job of product.yaml for Locust, with its fast client.
from itertools import count

from locust import FastHttpUser, task

numbers = count()


class User(FastHttpUser):
    def on_start(self):
        self.number = next(numbers)
        self.iteration = 0

    def get(self, name, path):
        self.iteration += 1
        with self.client.get(path, name=name, catch_response=True) as answer:
            if answer.status_code != 200:
                answer.failure("status is not 200")
            elif "Garden tools" not in answer.text:
                answer.failure("the text is missing")

    @task(6)
    def browse(self):
        self.get("browse", f"/json?page={self.iteration}")

    @task(3)
    def look(self):
        self.get("look", f"/json?user={self.number}&item={self.iteration}")

    @task(1)
    def search(self):
        self.get("search", f"/json?query=spade&user={self.number}")
