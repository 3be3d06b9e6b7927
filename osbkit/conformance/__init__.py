"""A black-box conformance kit for service brokers, in any language.

    connection  sending            one request, one exchange
    session     what a run shares: catalog, every exchange seen
    learning    which plan is synchronous, asynchronous, failing, bindable, …
    target      the broker as one check sees it; cleans up after it
    checks/     one function for each sentence of the specification
    runner      side by side, in an order that does not vary
    reports/    text, JSON, JUnit, HTML

It asks over HTTP and imports nothing of osbkit, so that a mistake of osbkit's own
models cannot hide in it; a test holds that. Spec: the Open Service Broker API v2.17.
"""
