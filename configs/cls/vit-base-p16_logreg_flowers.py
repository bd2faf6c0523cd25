# Linear transfer to Oxford Flowers 102: mean per-class accuracy on test.
_base_ = "./vit-base-p16_logreg_food101.py"

name = "flowers"
data_root = "data/flowers"
_data = dict(dataset=dict(name=name, data_root=data_root))
test_dataloader = _data
test_cfg = dict(train=_data, val=_data, metric="mean_per_class")
