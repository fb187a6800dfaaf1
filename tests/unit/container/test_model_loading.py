"""Loading models: what is verified, what is refused, and what a predictor asks of its rows."""

from __future__ import annotations

import functools
import json
import pickle

import pytest

from airflow_mlops.container.model_loading import load_model
from airflow_mlops.exceptions import ContractError, DigestMismatchError
from airflow_mlops.loading import Loading, LoadingPolicy, ModelCheck, SignaturePolicy
from airflow_mlops.manifest import manifest_of

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
skops_io = pytest.importorskip("skops.io")
yaml = pytest.importorskip("yaml")
linear = pytest.importorskip("sklearn.linear_model")
preprocessing = pytest.importorskip("sklearn.preprocessing")
pipeline = pytest.importorskip("sklearn.pipeline")


@pytest.fixture
def save(tmp_path):
    """Save an estimator in MLflow's format and return directory and digest; the metadata may be changed."""

    def write(estimator=None, **changes):
        rows = pd.DataFrame({"hour": [1.0, 2.0, 3.0, 4.0], "distance": [9.0, 7.0, 8.0, 6.0]})
        model = estimator or linear.LogisticRegression()
        if hasattr(model, "fit"):
            model = model.fit(rows, [0, 0, 1, 1])
        directory = tmp_path / "model"
        directory.mkdir()
        skops_io.dump(model, directory / "model.skops")
        columns = [{"name": "hour", "type": "long"}, {"name": "distance", "type": "double"}]
        metadata = {
            "flavors": {"sklearn": {"serialization_format": "skops", "pickled_model": "model.skops"}},
            "signature": {"inputs": json.dumps(columns)},
        }
        (directory / "MLmodel").write_text(yaml.safe_dump({**metadata, **changes}))
        return directory, manifest_of(directory).digest

    return write


def test_predicts_the_positive_class_whatever_the_order_of_columns(save):
    directory, digest = save()
    predictor = load_model(directory, digest)
    rows = pd.DataFrame({"distance": [9, 6], "id": ["a", "b"], "hour": [1, 4]})
    predictions = predictor.predict(rows)
    assert predictor.features == {"hour": "long", "distance": "double"}
    assert predictions.shape == (2,)
    assert predictions[0] < 0.5 < predictions[1]


def test_missing_columns_are_named(save):
    predictor = load_model(*save())
    with pytest.raises(ContractError, match="the model needs the columns distance, which the rows do not have"):
        predictor.predict(pd.DataFrame({"hour": [1]}))


def test_text_where_numbers_belong_is_named(save):
    predictor = load_model(*save())
    with pytest.raises(ContractError, match="column hour must be long"):
        predictor.predict(pd.DataFrame({"hour": ["early"], "distance": [1.0]}))


def test_changed_model_is_not_read(save):
    directory, digest = save()
    (directory / "model.skops").write_bytes(b"other")
    with pytest.raises(DigestMismatchError, match="the content changed"):
        load_model(directory, digest)


def test_types_that_no_one_reviewed_are_not_constructed(save):
    directory, digest = save(pipeline.make_pipeline(preprocessing.FunctionTransformer(functools.partial(np.add, 1))))
    with pytest.raises(ContractError, match=r"wants to construct .*partial.*, which no one reviewed; not loaded"):
        load_model(directory, digest)


def test_model_cannot_allow_itself_a_type(save):
    """MLflow would trust the list in the model's own metadata."""
    flavor = {
        "serialization_format": "skops",
        "pickled_model": "model.skops",
        "skops_trusted_types": ["functools.partial"],
    }
    directory, digest = save(
        pipeline.make_pipeline(preprocessing.FunctionTransformer(functools.partial(np.add, 1))),
        flavors={"sklearn": flavor},
    )
    with pytest.raises(ContractError, match="which no one reviewed"):
        load_model(directory, digest)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"flavors": {"sklearn": {"serialization_format": "cloudpickle", "pickled_model": "model.pkl"}}},
            "saved as 'cloudpickle'; only 'skops' is loaded, since pickles run code when read",
        ),
        ({"flavors": {"xgboost": {}}}, "MLmodel lists no sklearn flavour"),
        ({"signature": None}, "saved without a signature, so its columns are unknown"),
    ],
)
def test_other_models_are_refused(save, changes, message):
    directory, digest = save(**changes)
    with pytest.raises(ContractError, match=message):
        load_model(directory, digest)


def test_directory_without_metadata_is_no_model(tmp_path):
    (tmp_path / "weights").write_text("w")
    with pytest.raises(ContractError, match="no MLmodel file, so this is not a model in MLflow's format"):
        load_model(tmp_path, manifest_of(tmp_path).digest)


def partial_adder():
    """A harmless object of a type that is neither skops' own nor on the reviewed list."""
    return pipeline.make_pipeline(
        preprocessing.FunctionTransformer(functools.partial(np.add, 1)), linear.LogisticRegression()
    )


def policy(**fields):
    return Loading(policy=LoadingPolicy(**fields))


def test_a_type_that_the_policy_names_is_constructed_and_the_record_says_so(save):
    directory, digest = save(partial_adder())
    with pytest.raises(ContractError, match="names them under trusted_types of the loading policy"):
        load_model(directory, digest, policy())
    wanted = skops_io.get_untrusted_types(file=directory / "model.skops")
    predictor = load_model(directory, digest, policy(trusted_types=tuple(wanted)))
    assert predictor.check == ModelCheck(digest=digest, format="skops", trusted_types=tuple(sorted(wanted)))
    with pytest.raises(ContractError, match=r"wants to construct functools.partial, which no one reviewed"):
        load_model(directory, digest, policy(trusted_types=("functools.partialmethod",)))


@pytest.fixture
def pickled(save):
    directory, _ = save(flavors={"sklearn": {"serialization_format": "cloudpickle", "pickled_model": "model.pkl"}})
    model = skops_io.load(directory / "model.skops")
    (directory / "model.skops").unlink()
    (directory / "model.pkl").write_bytes(pickle.dumps(model))
    return directory, manifest_of(directory).digest


def test_a_pickle_is_read_only_where_the_policy_names_this_very_model(pickled):
    directory, digest = pickled
    for refusing in (None, policy(), policy(allow_pickle=("sha256:" + "a" * 64,))):
        with pytest.raises(ContractError, match=f"or name {digest} under allow_pickle of the loading policy"):
            load_model(directory, digest, refusing)
    predictor = load_model(directory, digest, policy(allow_pickle=(digest,)))
    assert predictor.check == ModelCheck(digest=digest, format="pickle")
    assert predictor.predict(pd.DataFrame({"hour": [1.0], "distance": [9.0]})).shape == (1,)


def test_a_pickle_that_was_changed_is_not_the_one_that_the_policy_names(pickled):
    directory, digest = pickled
    (directory / "model.pkl").write_bytes(pickle.dumps("something else"))
    with pytest.raises(DigestMismatchError, match="the content changed"):
        load_model(directory, digest, policy(allow_pickle=(digest,)))


def test_a_file_outside_the_model_is_not_read(save):
    flavor = {"serialization_format": "skops", "pickled_model": "../other.skops"}
    directory, digest = save(flavors={"sklearn": flavor})
    (directory.parent / "other.skops").write_bytes((directory / "model.skops").read_bytes())
    with pytest.raises(ContractError, match=r"MLmodel names '\.\./other.skops', which is not inside the model"):
        load_model(directory, digest)


def test_an_unsigned_model_is_refused_before_anything_of_it_is_looked_at(tmp_path):
    """There is not even a file, and nobody notices."""
    ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    key = ed25519.Ed25519PrivateKey.generate().public_key()
    public = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    with pytest.raises(ContractError, match="no signature by"):
        load_model(tmp_path / "nothing", "sha256:" + "a" * 64, policy(signature=SignaturePolicy(public_keys=(public,))))


def test_a_model_without_classes_foretells_numbers(save):
    predictor = load_model(*save(linear.Ridge(alpha=1e-9)))
    found = predictor.predict(pd.DataFrame({"hour": [1, 2], "distance": [9.0, 7.0]}))
    assert predictor.classes is None
    assert found.dtype == "float64"
    assert found.shape == (2,)


def test_classes_that_are_not_0_and_1_are_named(save):
    rows = pd.DataFrame({"hour": [1.0, 2.0, 3.0], "distance": [9.0, 7.0, 8.0]})
    predictor = load_model(*save())
    for labels, named in ((["a", "b", "b"], "a, b"), ([0, 1, 2], "0, 1, 2")):
        predictor.estimator.fit(rows, labels)
        with pytest.raises(ContractError, match=f"the model's classes are {named}; 0 and 1 are accepted"):
            predictor.predict(rows)


def test_classes_without_probabilities_are_named(save):
    predictor = load_model(*save(linear.RidgeClassifier()))
    with pytest.raises(ContractError, match="RidgeClassifier gives classes without probabilities"):
        predictor.predict(pd.DataFrame({"hour": [1.0], "distance": [9.0]}))
