"""Everyday scenes: what two people say to each other, and how an onlooker sums it up. Knows no model.

A scene is a list of exchanges of three lines: the first speaker's, `#` the second's, `#` the onlooker's; ` / ` parts
alternatives. The first exchange of a scene always stands.
`{a}` and `{b}` are the speakers; other braces are drawn once a scene from `slots`, but `{thing}` and `{name}`, which
are invented. Small talk has no onlooker.
"""

SMALL_TALK = """
Hello. / Hi. / Good morning. / Hello, how are you? / Hey, {b}.
# Hi. / Good morning. / Fine, thanks. And you? / Hello.
Thank you very much. / Thanks a lot. / I appreciate it.
# You're welcome. / No problem. / Not at all. / My pleasure.
See you later. / Goodbye. / Bye. / Have a nice day.
# See you. / Bye. / You too. / Take care.
Really? / Are you sure? / I see. / Is that so?
# Yes. / Of course. / I'm afraid so. / That's right. / Exactly.
By the way, nice weather today. / It's quite cold here.
# It is, isn't it? / Yes, I hope it stays. / I don't mind.
Excuse me. / Can you help me? / Do you have a minute?
# Yes? / Sure. What is it? / What can I do for you? / Certainly.
"""

SCENES = tuple(
    scene.strip()
    for scene in """
I'd like {dish}, please. / Can I have {dish}? / I'll take {dish}.
# Certainly. / Good choice. Anything else?
# {a} orders {dish}. / {a} orders {dish} with {b}'s help. / {b} helps {a} order {dish}.
What would you recommend to drink? / And to drink?
# Try our {drink}. / The {drink} is very good.
# {b} recommends {drink}. / {b} suggests {drink} to {a}.
How much is it? / Can I have the bill?
# That's {money}. / It comes to {money}.
# {a} pays {money}. / It costs {money}.
This food is cold. / I ordered something else.
# I'm terribly sorry. I'll change it at once.
# {a} complains about the food and {b} apologizes.

I'm looking for {item}. / I want to buy {item}. / Could you show me {item}?
# How about this one? / We have many. Come this way.
# {a} wants to buy {item}. / {a} is looking for {item} and {b} helps {a}. / {a} buys {item} with {b}'s assistance.
How much does it cost? / What's the price?
# It's {money}. / Only {money}.
# {b} says it is {money}. / {a} asks {b} the price.
That's too expensive. Can you give me a discount? / Could you make it cheaper?
# All right, I can give you ten percent off. / Sorry, the price is fixed.
# {a} asks for a discount. / {a} thinks it's expensive and bargains with {b}.
It doesn't fit me. I want to return it. / Can I change it?
# Do you have the receipt?
# {a} wants to return it. / {b} asks {a} to show the receipt.

What's the matter? / What's wrong with you? / What seems to be the trouble?
# I have {pain}. / I've had {pain} since {day}.
# {b} has {pain}. / {b} tells {a} {b} has {pain}. / {b} comes to see the doctor because of {pain}.
Let me examine you. / Open your mouth, please. / I will take your temperature.
# Is it serious, doctor?
# {a} examines {b}. / {a} gives {b} a check.
Take this medicine three times a day. / You should rest and drink more water.
# Thank you, doctor. / I will.
# {a} prescribes some medicine. / {a} advises {b} to rest. / {a} suggests {b} take some medicine.

Excuse me, how can I get to {place}? / Could you tell me the way to {place}? / Is there a way to {place} from here?
# You can {way}. / Just {way}.
# {a} asks {b} the way to {place}. / {b} tells {a} how to get to {place}. / {a} has lost the way to {place}.
How long does it take? / Is it far?
# About twenty minutes on foot. / Not far. You can't miss it.
# {b} says it isn't far.

I'd like to book {room} for {day}. / Do you have {room}? / I want to reserve {room}.
# Yes, we have one. / Let me check. Yes, it is available.
# {a} books {room}. / {b} helps {a} reserve {room} for {day}. / {a} calls to book {room}.
What's the rate? / How much is it a night?
# {money}. / It's {money} with breakfast.
# It costs {money}. / {b} tells {a} the price.
May I have your name? / How do you spell your name?
# It's {name}. / {name}, please.
# {a} asks for {b}'s information.

Why do you want to be {job} here? / So you are applying for the job of {job}?
# I like the work and I have experience. / Yes, I saw your advertisement.
# {a} interviews {b} for the position of {job}. / {b} applies for a job as {job}.
Do you have any experience? / Tell me about yourself.
# I worked in {city} for two years. / I studied {subject} at university.
# {b} worked in {city}. / {b} introduces {b}'s experience.
What salary do you expect?
# About {money}. / I leave it to you.
# {a} asks about {b}'s expected salary. / They talk about the salary.
We will let you know by {day}.
# Thank you. I look forward to it.
# {a} will tell {b} the result by {day}.

What do you do in your spare time? / Do you have any hobbies?
# I enjoy {hobby}. / I like {hobby} very much.
# {b} likes {hobby}. / {a} asks about {b}'s hobbies. / {a} and {b} talk about hobbies. {b} likes {hobby}.
How often do you do it? / When did you start?
# Every {day}. / I started when I was a child.
# {b} does it every {day}.
I have never tried {hobby}. / I'd like to learn it.
# I can teach you. / You should have a try.
# {b} will teach {a}. / {b} suggests {a} have a try.

Are you free on {day}? / What are you doing on {day}? / Would you like to go to {place} with me?
# Yes, I'd love to. / I have nothing planned. / Sorry, I have to work.
# {a} invites {b} to go to {place} on {day}. / {a} and {b} plan to go to {place}.
Let's meet at {time}. / Shall we say {time}? / I'll pick you up at {time}.
# OK, see you then. / That's fine with me.
# They will meet at {time}. / {a} will pick {b} up at {time}.
I can't come because {reason}. / I'd rather stay at home, {reason}.
# What a pity. / Maybe next time.
# {a} can't go because {reason}. / {a} refuses because {reason}.

You're late again! / Why are you so late?
# I'm sorry, {trouble}. / Sorry. You know, {trouble}.
# {b} is late because {trouble}. / {b} is late and explains that {trouble}. / {b} is sorry to be late.
Don't let it happen again. / You should leave home earlier.
# I promise. / I won't.
# {b} promises not to be late again. / {a} suggests {b} leave home earlier.

What do you think of {topic}? / Let's talk about {topic}. / Are you interested in {topic}?
# I think about {topic} a lot. / It's important to me. / I don't like it, {reason}.
# {a} and {b} talk about {topic}. / {a} asks {b}'s opinion on {topic}. / {a} and {b} are discussing {topic}.
I agree with you. / You are right.
# I'm glad you think so.
# {a} agrees with {b}. / They agree with each other.
I don't think so. / I'm afraid I disagree, {reason}.
# Well, it's up to you. / That's your opinion.
# {a} doesn't agree with {b}. / {a} thinks {reason}, but {b} doesn't.

You look {feeling}. What happened? / What's up? You seem {feeling}.
# My {kin} is ill. / I had a quarrel with my {kin}. / I failed {event}. / I lost my job.
# {b} is {feeling}. / {b} feels {feeling} and {a} comforts {b}. / {a} finds {b} {feeling} and asks why.
Don't worry. Everything will be fine. / Cheer up. / Why don't you talk to your {kin}?
# Maybe you're right. / Thanks, I will.
# {a} encourages {b}. / {a} suggests {b} talk to {b}'s {kin}. / {a} comforts {b}.

Hello, may I speak to {name}? / Is {name} there?
# I'm sorry, {name} is out. / Hold on, please.
# {a} calls {name}, but {name} is out. / {a} calls to speak to {name}. {b} answers the phone.
Can I leave a message? / Please tell {name} to call me back.
# Sure. I'll pass it on.
# {a} leaves a message for {name}. / {b} will tell {name} to call {a} back.
It's about {event}. / Tell {name} that {event} is on {day}.
# I've written it down.
# {a} wants {name} to know that {event} is on {day}.

I'd like a ticket to {city}, please. / When is the next train to {city}? / I want to book a flight to {city}.
# There is one at {time}. / One way or return?
# {a} wants to go to {city}. / {b} helps {a} book a ticket to {city}. / {a} buys a ticket to {city} with {b}'s help.
How much is it?
# {money}. / It's {money}, sir.
# The ticket costs {money}.
What time does it leave? / When does it arrive?
# At {time}. / It leaves at {time} on {day}.
# It leaves at {time}. / {b} tells {a} it leaves at {time}.

How was your trip to {city}? / Did you enjoy {city}?
# It was wonderful. / Terrible, {trouble}. / I had a great time.
# {a} asks {b} about {b}'s trip to {city}. / {b} tells {a} about the trip to {city}. / {b} had a trip to {city}.
What did you do there?
# I went to {place} and tried {dish}. / I spent most of the time on {hobby}.
# {b} went to {place}. / {b} tried {dish} there.

I'd like to open an account. / I want to send a parcel to {city}. / I need to change some money.
# Please fill in this form. / How much? {money}?
# {b} helps {a} fill in the form. / {a} comes to the bank and {b} helps {a}.
How long will it take?
# It will be ready on {day}. / About a week.
# It will take until {day}.

I'm looking for {room}. / Is {room} still for rent?
# Yes, it is near {place}. / Would you like to see it?
# {a} wants to rent {room}. / {b} shows {a} {room} near {place}.
What's the rent?
# {money}. / It's {money}, and you pay at once.
# The rent is {money}.
I'll take it. / I need to think about it, {reason}.
# Take your time. / When will you move in?
# {a} decides to rent it. / {a} needs to think about it.

How are you getting on with {subject}? / How was your {subject} exam?
# I failed it. / I find it difficult. / I got an A.
# {b} finds {subject} difficult. / {a} asks {b} about {subject}. / {a} and {b} talk about {subject}.
Can you help me with {subject}? / Do you have any advice?
# Of course. Let's study together at {place}.
# {b} will help {a} with {subject}. / {b} suggests studying together at {place}.

Have you heard? My {kin} is getting married. / Guess what! My {kin} got a job as {job}. / {name} is moving to {city}.
# Congratulations! / I can't believe it.
# {a} tells {b} {a}'s {kin} is getting married. / {a} tells {b} the news.
When is it?
# On {day}. You must come to the party.
# {a} invites {b} to the party on {day}.

There is something wrong with my {thing}. / My {thing} doesn't work.
# Let me see. / When did you buy it?
# {a}'s {thing} doesn't work. / {a} asks {b} to repair the {thing}. / {a} complains to {b} about the {thing}.
Can you fix it by {day}?
# I'm afraid not. / Sure, come back on {day}.
# {b} will repair it by {day}.

Do you know anything about {thing}? / I read about {thing} today. / Have you seen my {thing}?
# Not much. / Yes, it's on the table. / I have heard of it.
# {a} asks {b} about {thing}. / {a} and {b} talk about {thing}.
It has to do with {thing2}. / I found it next to the {thing2}.
# How interesting. / I didn't know that.
# It has to do with {thing2}. / {a} tells {b} about {thing2}.

Could you lend me {money}? / Could you lend me your {thing}?
# Sure. When will you give it back? / Sorry, I need it myself.
# {a} wants to borrow something from {b}. / {a} asks {b} for help.
I'll give it back on {day}.
# All right.
# {a} will give it back on {day}.

You should give up {hobby}. / Why don't you try {hobby}? / I think you should do more exercise.
# It's hard for me. / You're right, I'll try.
# {a} advises {b} on {hobby}. / {a} asks {b} to try {hobby}. / {a} persuades {b} to do more exercise.
It's because {reason}. / I tell you, {reason}.
# I see. / I never thought of that.
# {a} thinks {reason}. / {a} explains that {reason}.

Is {event} still on {day}? / We have to prepare for {event}.
# Yes, at {time}. / I nearly forgot.
# {a} and {b} are preparing for {event}. / {a} reminds {b} of {event} on {day}. / {b} tells {a} {event} is at {time}.
I'll bring {dish} and {drink}. / Who is coming?
# Great. / My {kin} and {name}.
# {a} will bring {dish}. / {name} is coming as well.

{b}, please finish the report by {day}. / I need the report by {day}. / Did you prepare the papers, {b}?
# Yes, sir. / I'm still working on it. / I need more time.
# {a} asks {b} to finish the report by {day}. / {b} is working on the report.
The meeting is at {time}. / Our client {name} comes at {time}.
# I will be ready.
# The meeting is at {time}. / {a} tells {b} that {name} comes at {time}.
""".strip().split("\n\n")
)
