# FGVC-Aircraft: mean per-class accuracy (macro recall).
_base_ = "./transfer.py"

data_root = "data/fgvc-aircraft-2013b"
num_classes = 100
data_preprocessor = dict(num_classes=num_classes)
_data = dict(name="aircraft", data_root=data_root)
train_dataloader = dict(dataset=_data)
val_dataloader = dict(dataset=_data)
test_dataloader = dict(dataset=_data)
val_evaluator = [
    dict(type="SingleLabelMetric", items=("recall",), average="macro"),
    dict(type="Accuracy", topk=(1, 5)),
]
test_evaluator = val_evaluator
