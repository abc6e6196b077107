"""The alert rules and the scrape sample, as Prometheus's own promtool sees them, beside what a node exports."""

import os
import re
import shutil
import subprocess
import urllib.request

from cluster import Cluster
from harness import ROOT, TMP, call, eventually, free_port, seconds

PROMTOOL = os.environ.get("TALLY_PROMTOOL", "promtool")
SAMPLES = os.path.join(ROOT, "deploy", "monitoring")
RULES = os.path.join(SAMPLES, "tally.rules.yml")


def promtool(*words, text=None):
    done = subprocess.run([PROMTOOL, *words], input=text, capture_output=True, text=True, timeout=seconds(120),
                          check=False)
    if done.returncode != 0:
        raise AssertionError(f"promtool {' '.join(words)}: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr


class Monitoring(Cluster):
    def exported(self):
        """What a node of a cluster serves that has counted and made a checkpoint."""
        port = free_port()
        node = self.member("n1", log=f"[metrics]\nlisten = 127.0.0.1:{port}")
        self.acquainted([node, self.member("n2")])
        call(node, "count", ["tickets"])
        node.ctl("checkpoint")

        def figures():
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=seconds(10)) as answer:
                text = answer.read().decode()
            return text if "tally_checkpoint_timestamp_seconds " in text else None
        return eventually(figures, 20, "the checkpoint is shown")

    def test_promtool_finds_nothing_amiss_in_the_figures(self):
        self.assertEqual(promtool("check", "metrics", text=self.exported()), "")

    def test_every_figure_that_an_alert_names_is_exported(self):
        with open(RULES, encoding="utf-8") as file:
            named = set(re.findall(r"\btally_\w+", file.read()))
        self.assertGreater(len(named), 15)
        exported = set(re.findall(r"^(tally_\w+)", self.exported(), re.M))
        self.assertEqual(named - exported, set())

    def test_the_scrape_sample_and_the_alert_rules_are_valid(self):
        promtool("check", "config", os.path.join(SAMPLES, "prometheus.yml"))
        promtool("check", "rules", RULES)

    def test_each_alert_fires_for_what_it_is_named_after_and_none_where_all_is_well(self):
        folder = os.path.join(TMP, "rules")
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        for file in (RULES, os.path.join(os.path.dirname(__file__), "rules_test.yml")):
            shutil.copy(file, folder)
        promtool("test", "rules", os.path.join(folder, "rules_test.yml"))
        with open(RULES, encoding="utf-8") as rules, open(os.path.join(folder, "rules_test.yml"),
                                                          encoding="utf-8") as tests:
            alerts, tested = re.findall(r"alert: (\w+)", rules.read()), tests.read()
        for alert in alerts:
            self.assertIn(f'alertname="{alert}"', tested)
