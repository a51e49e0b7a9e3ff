"""Users of one's own, beside those of the harness: with a campaign (examples/own_load.yaml) or with Locust alone:

locust -f locustfile.py,examples/own_users.py --host http://HOST/focus-server --feed examples/channels.jsonl
"""

from locust import HttpUser, between, task

from harness.load.users import Fed, Style, Viewer


class Dashboard(HttpUser):
    """A page that asks for the channels now and then. Nothing in it knows the harness."""

    wait_time = between(0.5, 1.5)
    weight = 3

    @task
    def channels(self) -> None:
        """Ask. Without a name of its own, a request is called by its path, which differs from target to target."""
        self.client.get("/channels", name="/channels")


class Searcher(Fed, HttpUser):
    """Asks with the rows of the feed."""

    wait_time = between(0.5, 1.5)

    @task
    def metadata(self) -> None:
        """Ask with the next row; the request's name stays one, whatever the row is."""
        row = self.feed.next()
        self.client.get("/live_metadata", params=row, name="/live_metadata")


class Glancer(Viewer):
    """Opens a window of one channel and looks at it for a second: its windows are in the record as any other's."""

    persona = "glancer"
    style = Style(view_type="1", channels=1)
    fixed_count = 1

    def hold_s(self) -> float:
        """Return how long the next window is looked at."""
        return self.random.uniform(0.5, 1.5)
