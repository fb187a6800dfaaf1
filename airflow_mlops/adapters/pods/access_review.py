"""Asking a cluster what this account may do there."""

from __future__ import annotations

from typing import Any

from airflow_mlops.exceptions import PermanentAdapterError, TransientAdapterError

__all__ = ["is_allowed"]

_TIMEOUT_SECONDS = 5.0


def is_allowed(client: Any, namespace: str, group: str, resource: str, verb: str) -> bool:
    """Whether the account that asks may do this; every account may ask about itself.

    :param client: ``kubernetes.client.ApiClient``
    :param namespace: where
    :param group: API group, empty for the core group
    :param resource: plural, perhaps with a subresource: ``pods/log``
    :param verb: as in a Role: ``get``, ``create``…
    :raises PermanentAdapterError: if the cluster does not answer such questions, or does not know who asks
    :raises TransientAdapterError: if it does not answer at all
    """
    from kubernetes.client import AuthorizationV1Api
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    name, _, subresource = resource.partition("/")
    attributes = {"namespace": namespace, "group": group, "resource": name, "subresource": subresource, "verb": verb}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    try:
        review = AuthorizationV1Api(client).create_self_subject_access_review(body, _request_timeout=_TIMEOUT_SECONDS)
    except ApiException as error:
        raise PermanentAdapterError(
            f"Kubernetes does not say what this account may do: {error.status} {error.reason}"
        ) from error
    except HTTPError as error:
        raise TransientAdapterError(f"the API server of the cluster does not answer ({error})") from error
    return bool(review.status.allowed)
