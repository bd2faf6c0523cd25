# Semi-supervised on 1 % of the labels as described in the paper's text: SGD with a sweep of the
# learning rate, whose values are not known; for example --cfg-options lr=.003, .01, .03 or .1.
_base_ = "./vit-small-p16_8xb64-amp-coslr-100e_in1k-1percent.py"

subset = "subsets/1percent.txt"
lr = 0.01
train_dataloader = dict(dataset=dict(subset=subset))
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="SGD", lr=lr, momentum=0.9, weight_decay=0.0)
)
