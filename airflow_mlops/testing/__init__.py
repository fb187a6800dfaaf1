"""Fakes and conformance suites, so that users can test their DAGs and their own adapters as we test ours."""
